"""Verifies tokens with PyJWT, and makes some: good ones, and what must never be believed."""

import base64
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

told = json.load(sys.stdin)


def verify(asked):
    """What a token says, if it is good; else the name of the exception."""
    try:
        if asked["secret"] is None:
            key = jwt.PyJWKClient(asked["jwks"], timeout=10).get_signing_key_from_jwt(asked["token"])
        else:
            key = asked["secret"].encode()
        return jwt.decode_complete(
            asked["token"],
            key,
            algorithms=[asked["algorithm"]],
            issuer=asked["issuer"],
            audience=asked["audience"],
            options={"require": ["exp", "iat", "sub", "jti"]},
        )
    except jwt.PyJWTError as error:
        return type(error).__name__


def pairs():
    """A key of each algorithm: its name, what signs, what verifies."""
    private = {
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }
    secret = b"a secret of thirty-two characters and more"
    return {name: (key, key.public_key()) for name, key in private.items()} | {"HS256": (secret, secret)}


def jwk(name, key):
    return get_default_algorithms()[name].to_jwk(key, as_dict=True) | {"kid": name, "alg": name, "use": "sig"}


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def make(asked):
    now = int(time.time())
    claims = {
        "iss": asked["issuer"],
        "aud": asked["audience"],
        "sub": "user-7",
        "org": "acme",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }
    keys, others = pairs(), pairs()

    def token(name="ES256", key=None, headers=None, without=None, **changed):
        payload = {claim: value for claim, value in (claims | changed).items() if claim != without}
        return jwt.encode(payload, key or keys[name][0], name, headers={"kid": name} | (headers or {}))

    good = {name: token(name) for name in keys}
    good["several audiences"] = token(aud=["https://elsewhere.example", asked["audience"]])
    good["application/at+jwt"] = token(headers={"typ": "application/at+jwt"})
    bad = {
        "expired": token(exp=now - 60),
        "not valid yet": token(nbf=now + 600),
        "another audience": token(aud="https://elsewhere.example"),
        "another issuer": token(iss="https://nobody.example"),
        "no end": token(without="exp"),
        "no audience": token(without="aud"),
        "no user": token(without="sub"),
        "no tenant": token(without="org"),
        "a key that nobody knows": token(headers={"kid": "another"}),
        "the name of another key": token(headers={"kid": "RS256"}),
        "another type": token(headers={"typ": "rt+jwt"}),
        "no signature": jwt.encode(claims, None, "none", headers={"kid": "ES256"}),
    }
    # PyJWT refuses to sign like this with PEM or DER; the modulus is as public.
    public = keys["RS256"][1].public_numbers().n.to_bytes(256, "big")
    for kid in ["RS256", "HS256"]:
        bad[f"the public key as the secret of {kid}"] = token("HS256", public, {"kid": kid})
    for name, genuine in [(name, good[name]) for name in keys]:
        head, _, signature = genuine.split(".")
        bad[f"{name}: other claims"] = ".".join([head, part(claims | {"org": "other"}), signature])
        bad[f"{name}: another one's key"] = token(name, b"x" * 40 if name == "HS256" else others[name][0])
        bad[f"{name}: cut short"] = genuine[:-4]
    return {"jwks": {"keys": [jwk(name, public) for name, (_, public) in keys.items()]}, "good": good, "bad": bad}


json.dump(make(told["make"]) if "make" in told else [verify(asked) for asked in told["verify"]], sys.stdout, default=str)
