"""pywebpush: a third implementation of encryption and identification, over requests."""

import json
import os

from parvis import equal, sandbox, say

with sandbox() as box:
    os.environ["REQUESTS_CA_BUNDLE"] = box.ca
    from py_vapid import Vapid02
    from pywebpush import WebPushException, webpush

    key = Vapid02.from_file(box.path("vapid.pem"))
    subscription = box.target(channel="webpush")["subscription"]
    document = {"web_push": 8030, "notification": {"title": "Order ready", "navigate": "https://shop.example/o/1", "app_badge": "1"}}

    def send(data, **more):
        claims = {"sub": "mailto:push@shop.example"}
        try:
            return webpush(subscription, data, vapid_private_key=key, vapid_claims=claims, **{"ttl": 60, **more}).status_code
        except WebPushException as error:
            return error.response.status_code, error.response.json()["errno"]

    equal("status", send(json.dumps(document)), 201)
    received = box.received()[0]
    equal("read", (received["title"], received["payload"]), ("Order ready", json.dumps(document)))
    equal("remarks", [remark.split(":")[0] for remark in received["remarks"]], ["notification.app_badge"])
    equal("too large", send("x" * 4000), (413, 104))
    equal("a topic with a dot", send("text", headers={"topic": "a.b"}), (400, 113))
    box.behave(subscription["endpoint"], kind="unregistered")
    equal("gone", send("text"), (410, 103))
    say("pywebpush", "one message was decrypted and read, three faults had their numbers")
