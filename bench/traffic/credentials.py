"""Clients who open with something else than a key: sessions of customers, users' tokens, signed deliveries."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import secrets
import time

from traffic.run import ask, close, demand, key

SIGN_INS = 8000       # Of a gateway that ran before, so that the store is larger than SQLite's page cache.
USERS = ("ada", "grace", "alan")
PASSWORD = "correct horse battery"
LOGINS_MAX = 64       # Of one user; one more ends the oldest.
LOGIN_S = 60          # Passwords are worked on at the lowest priority: a busy machine lets them wait.
SECRET = secrets.token_bytes(24)


async def sessions(run):
    """Customers who sign in, use their session, and let it end."""
    while run.on:
        streams = await run.connect()
        began = time.monotonic()
        path = f"/customers/c{random.randrange(1000)}/session"
        status, body, _, name = await ask(streams, "POST", path, [key(run.keys["stored"])])
        run.expect("sign in", status, (200,), began, name)
        if status == 200:
            field = ("X-Session-Token", json.loads(body)["token"])
            for _ in range(3):
                began = time.monotonic()
                status, _, over, name = await ask(streams, "GET", "/portal/home", [field])
                run.expect("session", status, (200,), began, name)
                if over:
                    break
        await close(streams)
        await asyncio.sleep(0.15)


async def fill(run):
    """Signs customers in until the store is larger than what SQLite keeps of it in memory, and users until each has as many
    logins as there may be. That is bounded, but would otherwise grow during the whole soak, and pass for a leak."""
    left = []
    if run.wants("sessions"):
        left += [("sign in", f"/customers/c{number % 1000}/session", [key(run.keys["stored"])], b"") for number in range(SIGN_INS)]
    if run.wants("tokens"):
        left += [("login", "/auth/login", JSON, credentials(user)) for user in USERS for _ in range(LOGINS_MAX)]

    async def client():
        streams = await run.connect()
        while left:
            kind, *request = left.pop()
            status, _, over, name = await ask(streams, "POST", *request, patience=LOGIN_S)
            run.expect(kind, status, (200,), time.monotonic(), name)
            if over:
                await close(streams)
                streams = await run.connect()
        await close(streams)

    await asyncio.gather(*(client() for _ in range(8)))


# --- users --------------------------------------------------------------------------------------------------------------

JSON = [("Content-Type", "application/json")]


def credentials(user, password=PASSWORD):
    return json.dumps({"login": user, "password": password}).encode()


async def tokens(run):
    """A user logs in, uses the token, gets new ones for the refresh token, and logs out, or forgets to; or a refresh token comes
    twice, which ends the login. At times the password is wrong."""
    streams = await run.connect(random.random() < 0.5)
    bearer = lambda: [("Authorization", f"Bearer {held['access']}")]

    async def want(right, method, path, fields=(), body=b""):
        status, said, _, name = await ask(streams, method, path, fields, body, patience=LOGIN_S)
        demand(status, right, name=name)
        run.counts[f"tokens {path} {status}"] += 1
        return json.loads(said) if said[:1] == b"{" else None

    try:
        if random.random() < 0.1:
            await want(401, "POST", "/auth/login", JSON, credentials(random.choice((*USERS, "nobody")), "wrong horse"))
            return "refused"
        held = await want(200, "POST", "/auth/login", JSON, credentials(random.choice(USERS)))
        for _ in range(random.randrange(1, 4)):
            await want(200, "GET", "/account/home", bearer())
            old = json.dumps({"refresh": held["refresh"]}).encode()
            held = await want(200, "POST", "/auth/refresh", JSON, old)
            await want(200, "GET", "/account/home", bearer())
        how = random.choice(("forgotten", "logged out", "ended by a token that came twice"))
        if how == "logged out":
            await want(204, "POST", "/auth/logout", bearer())
        elif how != "forgotten":
            await want(401, "POST", "/auth/refresh", JSON, old)
        if how != "forgotten":
            await want(401, "GET", "/account/home", bearer())
        return how
    finally:
        await close(streams)


# --- signed deliveries --------------------------------------------------------------------------------------------------

def secrets_file():
    return f"- {{ provider: standard, tenant: acme, environment: live, secrets: [whsec_{base64.b64encode(SECRET).decode()}] }}\n"


def signed(body, at=None):
    """The fields of a delivery, as Standard Webhooks has them."""
    name, at = "msg_" + secrets.token_hex(12), str(int(at or time.time()))
    mac = hmac.new(SECRET, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return [("webhook-id", name), ("webhook-timestamp", at), ("webhook-signature", "v1," + base64.b64encode(mac).decode())]


async def deliveries(run):
    """Deliveries that are good, come twice, are forged, or late."""
    streams = await run.connect(random.random() < 0.5)
    try:
        for _ in range(5):
            body = os.urandom(random.choice((10, 1000, 100_000)))
            how, fields, sent, right = random.choice([
                *[("good", signed(body), body, 200)] * 4,
                ("forged", signed(body), body + b"!", 401),
                ("late", signed(body, time.time() - 60), body, 401),
            ])
            chunked = random.random() < 0.5
            status, said, over, name = await ask(streams, "POST", "/hooks/standard/acme", fields, sent, chunked)
            demand(status, right, name=name)
            if status == 200:
                demand(said, str(len(body)).encode())
            run.counts[f"deliveries {how} {status}"] += 1
            if how == "good" and not over and random.random() < 0.3:
                status, _, over, name = await ask(streams, "POST", "/hooks/standard/acme", fields, sent)
                run.counts[f"deliveries twice {demand(status, 409, name=name)}"] += 1
            if over:
                break
            await asyncio.sleep(0.05)
        return "connections"
    finally:
        await close(streams)
