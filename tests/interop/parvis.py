"""The real binary as processes: the sandbox, and a daemon that delivers to it. Both end with the block."""

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

PARVIS = os.environ["PARVIS"]


def equal(what, found, expected):
    """Ends the script with the first difference."""
    if found != expected:
        raise SystemExit(f"{what}: {found!r} instead of {expected!r}")


def say(client, what):
    print(f"{client:<16} {what}", flush=True)


def call(url, method="GET", body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def start(args):
    child = subprocess.Popen([PARVIS, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    atexit.register(child.kill)
    return child


def until(what, look, patience_s=60):
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


class Sandbox:
    def __init__(self, folder, control):
        self.folder = folder
        self.control = control
        self.endpoints = call(control + "/sandbox")
        self.ca = os.path.join(folder, "ca.pem")

    def path(self, name):
        return os.path.join(self.folder, name)

    def apns_key(self):
        name = next(name for name in os.listdir(self.folder) if name.startswith("AuthKey_"))
        return self.path(name), name[len("AuthKey_") : -len(".p8")]

    def target(self, **new):
        return call(self.control + "/sandbox/targets", "POST", new)

    def behave(self, target, **behaviour):
        call(self.control + "/sandbox/behaviour", "PUT", {"target": target, "behaviour": behaviour})

    def received(self):
        return call(self.control + "/received")["received"]


@contextlib.contextmanager
def sandbox():
    folder = tempfile.mkdtemp(prefix="parvis-interop-")
    child = start(["sandbox", "--dir", folder, "--port-base", "0"])
    try:
        found = None
        for line in child.stdout:
            found = found or re.match(r"received messages +(\S+)", line)
            if line.startswith("Press"):
                break
        yield Sandbox(folder, found.group(1))
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Daemon:
    def __init__(self, url, key):
        self.url = url
        self.headers = {"authorization": "Bearer " + key}

    def put(self, path, body):
        return call(self.url + path, "PUT", body, self.headers)

    def post(self, path, body):
        return call(self.url + path, "POST", body, self.headers)

    def get(self, path):
        return call(self.url + path, headers=self.headers)


@contextlib.contextmanager
def daemon(box):
    config = box.path("delivery.toml")
    new = [PARVIS, "keys", "new", "--config", config, "--name", "interop", "--scope", "admin"]
    key = subprocess.run(new, check=True, capture_output=True, text=True).stdout.strip()
    child = start(["serve", "--config", config, "--set", "http.listen=127.0.0.1:0"])
    try:
        address = None
        for line in child.stderr:
            with contextlib.suppress(ValueError, KeyError):
                address = json.loads(line)["fields"]["http.address"]
            if address:
                break
        yield Daemon("http://" + address, key)
    finally:
        child.kill()
        child.wait()
