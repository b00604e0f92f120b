"""Manages a key with the public client, as its documentation shows it; tells what the client made of each answer."""

import json
import sys
from datetime import datetime, timezone

from flexprice import Flexprice
from flexprice.models import errors

told = json.load(sys.stdin)


def client(secret):
    return Flexprice(server_url=told["url"], api_key_auth=secret, timeout_ms=10_000)


def refused(ask):
    """What the client raises, as the name of its class, status and code."""
    try:
        ask()
    except errors.FlexpriceError as error:
        code = error.data.code if isinstance(error, errors.ErrorResponse) else json.loads(error.body)["code"]
        return [type(error).__name__, error.status_code, code]
    return None


said = {}
with client(told["key"]) as flexprice:
    expires_at = datetime(2099, 1, 31, tzinfo=timezone.utc)
    made = flexprice.secrets.create_api_key(name="Made by the client", type_="private_key", expires_at=expires_at)
    said["made"] = made.model_dump(mode="json")
    said["same_time"] = made.secret.expires_at == expires_at
    with client(made.api_key) as of_the_new_key:
        said["listed"] = of_the_new_key.secrets.list_api_keys(limit=10, offset=1, status="published").model_dump(mode="json")
    said["archived"] = flexprice.secrets.list_api_keys(status="archived").model_dump(mode="json")
    said["session"] = flexprice.customers.create_customer_portal_session(external_id="cust-1").model_dump(mode="json")

    flexprice.secrets.delete_api_key(id=made.secret.id)
    said["left"] = flexprice.secrets.list_api_keys().model_dump(mode="json")
    with client(made.api_key) as of_the_deleted_key:
        said["dead"] = refused(of_the_deleted_key.secrets.list_api_keys)
    said["deleted_twice"] = refused(lambda: flexprice.secrets.delete_api_key(id=made.secret.id))
    said["wrong_type"] = refused(lambda: flexprice.secrets.create_api_key(name="n", type_="integration"))
    said["wrong_limit"] = refused(lambda: flexprice.secrets.list_api_keys(limit=100_000))

json.dump(said, sys.stdout)
