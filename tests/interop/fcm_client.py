"""firebase-admin: Google's own client, its service account's grant included, pointed at the sandbox."""

import datetime
import os
import warnings

from parvis import equal, sandbox, say

with sandbox() as box:
    # Read when the modules below are imported.
    os.environ["REQUESTS_CA_BUNDLE"] = box.ca
    import firebase_admin
    from firebase_admin import credentials, exceptions, messaging

    # Tokens are on their way out; devices have them for years yet.
    warnings.simplefilter("ignore", DeprecationWarning)
    base = box.endpoints["fcm"]
    messaging._MessagingService.FCM_URL = base + "/v1/projects/{0}/messages:send"
    # Retries of the client itself would only hide what was answered.
    app = firebase_admin.initialize_app(credentials.Certificate(box.path("service-account.json")))
    service = messaging._get_messaging_service(app)
    service._client.session.adapters["https://"].max_retries = 0

    token = box.target(channel="fcm")["token"]
    rich = messaging.Message(
        token=token,
        notification=messaging.Notification(title="Order ready", body="Bay 3"),
        data={"deep_link": "https://shop.example/o/1"},
        android=messaging.AndroidConfig(
            priority="high",
            ttl=datetime.timedelta(seconds=3600, milliseconds=500),
            collapse_key="order-1",
            notification=messaging.AndroidNotification(
                tag="order-1",
                color="#336699",
                channel_id="orders",
                priority="high",
                visibility="public",
                vibrate_timings_millis=[100, 200],
                light_settings=messaging.LightSettings("#ff0000", 500, 500),
                notification_count=2,
            ),
        ),
        apns=messaging.APNSConfig(
            headers={"apns-priority": "10"},
            payload=messaging.APNSPayload(messaging.Aps(badge=1, alert=messaging.ApsAlert(title="Order", body="Bay 3"))),
        ),
        webpush=messaging.WebpushConfig(
            headers={"TTL": "60", "Urgency": "high"},
            fcm_options=messaging.WebpushFCMOptions(link="https://shop.example/o/1"),
        ),
    )
    name = messaging.send(rich)
    equal("the name", name.startswith("projects/parvis-sandbox/messages/0:"), True)
    received = box.received()[0]
    equal("read", (received["id"], received["title"], received["collapse"]), (name, "Order ready", "order-1"))
    say("firebase-admin", "a message with every block was accepted and read")

    for target in ({"topic": "sale"}, {"condition": "'sale' in topics && !('shoes' in topics)"}):
        name = messaging.send(messaging.Message(data={"a": "b"}, **target))
        equal("a number", name.rsplit("/", 1)[1].isdigit(), True)
    fid = box.target(channel="fcm", fid=True)["fid"]
    name = messaging.send(messaging.Message(fid=fid, data={"a": "b"}))
    equal("an installation", (name.split("/")[3][:2], box.received()[-1]["target"]), ("0:", fid))
    dry = messaging.send(messaging.Message(token=token), dry_run=True)
    equal("a dry run", dry.rsplit("/", 1)[1], "fake_message_id")
    equal("four were sent", len(box.received()), 4)
    say("firebase-admin", "topic, condition, installation id and dry run were told apart")

    def refusal(**message):
        try:
            messaging.send(messaging.Message(**message))
        except exceptions.FirebaseError as error:
            return type(error).__name__, error.code
        return "accepted"

    equal("a malformed token", refusal(token="nonsense"), ("InvalidArgumentError", "INVALID_ARGUMENT"))
    equal("too large", refusal(token=token, data={"a": "x" * 4096}), ("InvalidArgumentError", "INVALID_ARGUMENT"))
    equal("a reserved key", refusal(token=token, data={"google.x": "x"}), ("InvalidArgumentError", "INVALID_ARGUMENT"))
    for behaviour, expected in [
        ({"kind": "failing", "status": 401}, ("ThirdPartyAuthError", "UNAUTHENTICATED")),
        ({"kind": "failing", "status": 403}, ("SenderIdMismatchError", "PERMISSION_DENIED")),
        ({"kind": "throttled"}, ("QuotaExceededError", "RESOURCE_EXHAUSTED")),
        ({"kind": "throttled", "retry_after_s": 1}, ("QuotaExceededError", "RESOURCE_EXHAUSTED")),
        ({"kind": "failing", "status": 500}, ("InternalError", "INTERNAL")),
        ({"kind": "unavailable"}, ("UnavailableError", "UNAVAILABLE")),
        ({"kind": "unregistered"}, ("UnregisteredError", "NOT_FOUND")),
    ]:
        # The order of the details varies; the client must not care.
        for _ in range(4):
            box.behave(token, **behaviour)
            equal(str(behaviour), refusal(token=token), expected)
    say("firebase-admin", "ten faults became its own exceptions")
