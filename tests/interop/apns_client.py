"""aioapns: another HTTP/2 implementation (hyper-h2), by token and by certificate."""

import asyncio
import os
import ssl
import tempfile
from uuid import uuid4

from aioapns import APNs, NotificationRequest, PushType
from aioapns import connection as wire

from parvis import call, equal, sandbox, say

TOPIC = "com.example.shop"


async def main(box):
    host, port = box.endpoints["apns_production"].removeprefix("https://").split(":")
    for protocol in vars(wire).values():
        if isinstance(protocol, type) and hasattr(protocol, "APNS_SERVER"):
            protocol.APNS_SERVER = host
            protocol.APNS_PORT = int(port)
    key, key_id = box.apns_key()

    def trusting():
        return ssl.create_default_context(cafile=box.ca)

    apns = APNs(key=open(key).read(), key_id=key_id, team_id="PARVISTEAM", topic=TOPIC, ssl_context=trusting(), max_connections=1)
    device = box.target(channel="apns", topic=TOPIC)["token"]

    def note(token=device, **more):
        aps = {"aps": {"alert": {"title": "Order ready", "body": "Bay 3"}}}
        more = {"push_type": PushType.ALERT, "message": aps, **more}
        return NotificationRequest(device_token=token, notification_id=str(uuid4()), **more)

    notes = [note(collapse_key=f"order-{number}") for number in range(200)]
    results = await asyncio.gather(*(apns.send_notification(each) for each in notes))
    equal("200 at once", {result.status for result in results}, {"200"})
    equal("their ids", {result.notification_id for result in results}, {each.notification_id for each in notes})
    received = box.received()
    equal("received", {one["id"] for one in received}, {each.notification_id for each in notes})
    equal("titles", {one["title"] for one in received}, {"Order ready"})
    say("aioapns", "200 alerts at once were accepted under their ids")

    async def refusal(*args, **more):
        result = await apns.send_notification(note(*args, **more))
        return result.status, result.description

    equal("an unknown token", await refusal("0" * 64), ("400", "BadDeviceToken"))
    equal("another topic", await refusal(apns_topic="com.example.nobody"), ("400", "TopicDisallowed"))
    equal("priority", await refusal(priority=7), ("400", "BadPriority"))
    box.behave(device, kind="expired")
    equal("expired", await refusal(), ("410", "ExpiredToken"))
    box.behave(device, kind="throttled", times=1)
    equal("throttled", await refusal(), ("429", "TooManyRequests"))
    say("aioapns", "five faults had their reasons")

    issued = call(box.control + "/sandbox/apns/certificates", "POST", {"topic": TOPIC})
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(issued["certificate_pem"] + issued["key_pem"])
        file.flush()
        context = trusting()
        context.load_cert_chain(file.name)
        certified = APNs(client_cert=file.name, topic=TOPIC, ssl_context=context, max_connections=1)
        result = await certified.send_notification(note())
        equal("by certificate", result.status, "200")
    say("aioapns", "a certificate was accepted")


with sandbox() as box:
    asyncio.run(main(box))
os._exit(0)
