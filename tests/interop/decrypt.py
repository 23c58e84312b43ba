"""http_ece decrypts what the daemon itself sent: this script is the browser, connected to the sandbox as Firefox is."""

import asyncio
import base64
import datetime
import json
import os
import uuid

import aiohttp
import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from parvis import daemon, equal, sandbox, say


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def data(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def shop(node, subscription):
    node.put("/v1/stores/opera", {"name": "Opera", "time_zone": "Europe/Paris"})
    content = {"en": {"title": "Order ready", "body": "{{ order.id }}"}}
    node.put("/v1/campaigns/ready", {"purpose": "order", "on": {"order": ["confirmed"]}, "content": content,
                                     "deep_link": "https://shop.example/orders/{{ order.id }}"})
    consents = {"orders": {"granted": True, "at": "2026-01-01T00:00:00Z"}}
    node.put("/v1/shoppers/C-1", {"locale": "en-GB", "time_zone": "Europe/Paris", "consents": consents})
    target = {"channel": "webpush", "subscription": subscription}
    node.put("/v1/devices/browser", {"shopper": "C-1", "platform": "web", "target": target})


async def main(box):
    own, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    with open(box.path("vapid.pem"), "rb") as file:
        application_server_key = text(point(load_pem_private_key(file.read(), None)))
    channel = str(uuid.uuid4())
    async with aiohttp.ClientSession() as session, session.ws_connect(box.endpoints["autopush"]) as push:
        await push.send_json({"messageType": "hello", "use_webpush": True, "broadcasts": {}})
        equal("hello", (await push.receive_json())["status"], 200)
        await push.send_json({"messageType": "register", "channelID": channel, "key": application_server_key})
        endpoint = (await push.receive_json())["pushEndpoint"]
        with daemon(box) as node:
            shop(node, {"endpoint": endpoint, "keys": {"p256dh": text(point(own)), "auth": text(auth)}})
            at = datetime.datetime.now(datetime.timezone.utc).isoformat()
            event = {"event": "E-1", "at": at, "state": "confirmed", "shopper": "C-1", "fulfilment": "delivery"}
            node.post("/v1/orders/A-1/events", event)
            message = await asyncio.wait_for(push.receive_json(), 60)
        equal("the coding", message["headers"]["encoding"], "aes128gcm")
        body = data(message["data"])
        plain = http_ece.decrypt(body, private_key=own, auth_secret=auth, version="aes128gcm")
        document = json.loads(plain)
        await push.send_json({"messageType": "ack", "updates": [{"channelID": channel, "version": message["version"], "code": 100}]})
    shown = document["notification"]
    equal("declarative", document["web_push"], 8030)
    equal("the text", (shown["title"], shown["body"]), ("Order ready", "A-1"))
    equal("the page", shown["navigate"], "https://shop.example/orders/A-1")
    equal("the id", len(shown["data"]["notification_id"]), 36)
    # Salt, record size, key id: one record that holds everything.
    equal("one record", len(body) - 86 <= int.from_bytes(body[16:20], "big"), True)
    say("http_ece", f"{len(body)} bytes that the daemon sent were decrypted and read")


with sandbox() as box:
    asyncio.run(main(box))
