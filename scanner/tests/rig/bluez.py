"""BlueZ as far as a scanner sees it, without a radio.

Takes the name org.bluez on the bus that DBUS_SYSTEM_BUS_ADDRESS names. Reads one JSON command a line and answers each
with one line. Follows bluez/src/adapter.c (btd_adapter_device_found, start_discovery, stop_discovery) and
src/device.c: what a device tells, when a strength is told, and what discovery of several clients comes to.

Options: --rssi-rule 5.87|later, --monitor (offer advertisement monitors), --adapter hci0=00:11:22:33:44:55 (several).
"""

import argparse
import json
import sys
import time

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

BLUEZ = "org.bluez"
ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
MANAGER = "org.bluez.AdvertisementMonitorManager1"
MONITOR = "org.bluez.AdvertisementMonitor1"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"


class Refusal(dbus.DBusException):
    def __init__(self, name, message):
        super().__init__(message, name="org.bluez.Error." + name)


class Described(dbus.service.Object):
    """An object with properties."""

    def __init__(self, world, path, interface, properties):
        super().__init__(world.bus, path)
        self.world, self.path = world, path
        self.interfaces = {interface: properties}

    @dbus.service.method(PROPERTIES, in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return self.interfaces[interface][name]

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        return dbus.Dictionary(self.interfaces.get(interface, {}), signature="sv")

    @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    def change(self, interface, changed, invalidated=()):
        self.interfaces[interface].update(changed)
        for name in invalidated:
            self.interfaces[interface].pop(name, None)
        changed = dbus.Dictionary(changed, signature="sv")
        self.PropertiesChanged(interface, changed, dbus.Array(invalidated, signature="s"))


class Adapter(Described):
    def __init__(self, world, name, address):
        properties = {
            "Address": dbus.String(address),
            "AddressType": dbus.String("public"),
            "Name": dbus.String("rig"),
            "Alias": dbus.String("rig"),
            # Product 0246 of the Linux Foundation is BlueZ; the last part is its version, 5.66.
            "Modalias": dbus.String("usb:v1D6Bp0246d0542"),
            "Powered": dbus.Boolean(True),
            "Discovering": dbus.Boolean(False),
        }
        super().__init__(world, "/org/bluez/" + name, ADAPTER, properties)
        if world.options.monitor:
            kinds = dbus.Array(["or_patterns"], signature="s")
            self.interfaces[MANAGER] = {"SupportedMonitorTypes": kinds}
        self.filters, self.discoverers, self.monitors = {}, set(), {}
        self.devices, self.seen, self.failures = {}, set(), []
        self.calls = {"start": 0, "stop": 0, "off": 0, "on": 0}

    @property
    def powered(self):
        return bool(self.interfaces[ADAPTER]["Powered"])

    def refuse_if_told(self, method):
        for failure in self.failures:
            if failure["method"] == method:
                self.failures.remove(failure)
                raise Refusal(failure["error"], "told to fail")

    @dbus.service.method(PROPERTIES, in_signature="ssv")
    def Set(self, interface, name, value):
        if (interface, name) != (ADAPTER, "Powered"):
            raise Refusal("NotSupported", name)
        self.refuse_if_told("Powered")
        self.power(bool(value))

    def power(self, on):
        if on == self.powered:
            return
        self.calls["on" if on else "off"] += 1
        if not on:
            self.forget_discovery()
        self.change(ADAPTER, {"Powered": dbus.Boolean(on)})

    @dbus.service.method(ADAPTER, in_signature="a{sv}", sender_keyword="sender")
    def SetDiscoveryFilter(self, settings, sender):
        self.refuse_if_told("SetDiscoveryFilter")
        self.filters[sender] = {str(name): value for name, value in settings.items()}

    @dbus.service.method(ADAPTER, sender_keyword="sender")
    def StartDiscovery(self, sender):
        self.refuse_if_told("StartDiscovery")
        if not self.powered:
            raise Refusal("NotReady", "Resource Not Ready")
        if sender in self.discoverers:
            raise Refusal("InProgress", "Operation already in progress")
        self.calls["start"] += 1
        self.discoverers.add(sender)
        if not self.interfaces[ADAPTER]["Discovering"]:
            self.change(ADAPTER, {"Discovering": dbus.Boolean(True)})

    @dbus.service.method(ADAPTER, sender_keyword="sender")
    def StopDiscovery(self, sender):
        self.refuse_if_told("StopDiscovery")
        if sender not in self.discoverers:
            raise Refusal("Failed", "No discovery started")
        self.calls["stop"] += 1
        self.discoverers.discard(sender)
        if not self.discoverers:
            self.forget_discovery()

    def forget_discovery(self):
        """Discovery ends: strengths are void, and devices that nobody has paired are forgotten."""
        self.discoverers.clear()
        self.seen.clear()
        for address in list(self.devices):
            self.devices[address].change(DEVICE, {}, ["RSSI", "TxPower"])
            self.forget_device(address)
        if self.interfaces[ADAPTER]["Discovering"]:
            self.change(ADAPTER, {"Discovering": dbus.Boolean(False)})

    def forget_device(self, address):
        device = self.devices.pop(address)
        self.world.remove(device)

    def forget_client(self, name):
        self.filters.pop(name, None)
        self.monitors = {key: state for key, state in self.monitors.items() if key[0] != name}
        if name in self.discoverers:
            self.discoverers.discard(name)
            if not self.discoverers:
                self.forget_discovery()

    @dbus.service.method(MANAGER, in_signature="o", sender_keyword="sender")
    def RegisterMonitor(self, path, sender):
        if not self.world.options.monitor:
            raise dbus.DBusException("no such interface", name="org.freedesktop.DBus.Error.UnknownMethod")
        if (sender, path) in self.monitors:
            raise Refusal("AlreadyExists", "Already Exists")
        self.monitors[(sender, path)] = []
        application = dbus.Interface(self.world.bus.get_object(sender, path, introspect=False), OBJECTS)

        def found(objects):
            for monitor, interfaces in objects.items():
                settings = interfaces.get(MONITOR)
                if settings and settings["Type"] == "or_patterns" and settings["Patterns"]:
                    patterns = [[int(start), int(kind), bytes(data).hex()] for start, kind, data in settings["Patterns"]]
                    self.activate(sender, path, monitor, patterns)

        application.GetManagedObjects(reply_handler=found, error_handler=self.world.complain)

    def activate(self, sender, path, monitor, patterns):
        def activated():
            if (sender, path) in self.monitors:
                self.monitors[(sender, path)] = patterns

        exported = dbus.Interface(self.world.bus.get_object(sender, monitor, introspect=False), MONITOR)
        exported.Activate(reply_handler=activated, error_handler=self.world.complain)

    @dbus.service.method(MANAGER, in_signature="o", sender_keyword="sender")
    def UnregisterMonitor(self, path, sender):
        if self.monitors.pop((sender, path), None) is None:
            raise Refusal("DoesNotExist", "Does Not Exist")

    def hear(self, packet):
        """One packet on the air. Whether it was told to anybody."""
        if not self.interfaces[ADAPTER]["Discovering"] or not self.powered:
            return False
        address = packet["address"]
        if self.world.strict and address in self.seen and not any(self.monitors.values()):
            return False
        self.seen.add(address)
        told = {}
        if packet.get("rssi") is not None:
            told["RSSI"] = dbus.Int16(packet["rssi"])
        manufacturer = {
            dbus.UInt16(int(company)): octets(data) for company, data in packet.get("manufacturer", {}).items()
        }
        if manufacturer:
            told["ManufacturerData"] = dbus.Dictionary(manufacturer, signature="qv")
        service = {dbus.String(uuid): octets(data) for uuid, data in packet.get("service", {}).items()}
        if service:
            told["ServiceData"] = dbus.Dictionary(service, signature="sv")
        device = self.devices.get(address)
        if device is None:
            self.devices[address] = Device(self, address, packet.get("type", "random"), told)
            return True
        known = device.interfaces[DEVICE]
        filters = [settings for client, settings in self.filters.items() if client in self.discoverers]
        if not any(settings.get("DuplicateData") for settings in filters):
            told = {name: value for name, value in told.items() if name == "RSSI" or known.get(name) != value}
        if "RSSI" in told and "RSSI" in known and abs(told["RSSI"] - known["RSSI"]) < self.rssi_step(filters):
            del told["RSSI"]
        if told:
            device.change(DEVICE, told)
        return bool(told)

    def rssi_step(self, filters):
        """By how much a strength must have changed to be told. What decides it changed after 5.87."""
        if self.world.options.rssi_rule == "5.87":
            return 0 if any(filters) else 8
        return 0 if any("RSSI" in settings or "Pathloss" in settings for settings in filters) else 8


class Device(Described):
    def __init__(self, adapter, address, kind, told):
        properties = {
            "Address": dbus.String(address),
            "AddressType": dbus.String(kind),
            "Alias": dbus.String(address.replace(":", "-")),
            "Paired": dbus.Boolean(False),
            "Bonded": dbus.Boolean(False),
            "Trusted": dbus.Boolean(False),
            "Blocked": dbus.Boolean(False),
            "LegacyPairing": dbus.Boolean(False),
            "Connected": dbus.Boolean(False),
            "ServicesResolved": dbus.Boolean(False),
            "UUIDs": dbus.Array([], signature="s"),
            "Adapter": dbus.ObjectPath(adapter.path),
        }
        properties.update(told)
        path = adapter.path + "/dev_" + address.replace(":", "_")
        super().__init__(adapter.world, path, DEVICE, properties)
        adapter.world.add(self)


class Root(dbus.service.Object):
    def __init__(self, world):
        super().__init__(world.bus, "/")
        self.world = world

    @dbus.service.method(OBJECTS, out_signature="a{oa{sa{sv}}}")
    def GetManagedObjects(self):
        objects = {dbus.ObjectPath(path): described(thing) for path, thing in self.world.objects.items()}
        return dbus.Dictionary(objects, signature="oa{sa{sv}}")

    @dbus.service.signal(OBJECTS, signature="oa{sa{sv}}")
    def InterfacesAdded(self, path, interfaces):
        pass

    @dbus.service.signal(OBJECTS, signature="oas")
    def InterfacesRemoved(self, path, interfaces):
        pass


def described(thing):
    interfaces = {name: dbus.Dictionary(values, signature="sv") for name, values in thing.interfaces.items()}
    return dbus.Dictionary(interfaces, signature="sa{sv}")


def octets(text):
    return dbus.Array([dbus.Byte(byte) for byte in bytes.fromhex(text)], signature="y", variant_level=1)


class World:
    """Everything on the bus, and the commands."""

    def __init__(self, options):
        self.options, self.strict, self.storm = options, False, None
        self.objects, self.adapters, self.complaints = {}, {}, []
        self.bus = dbus.SystemBus()
        self.root = Root(self)
        for adapter in options.adapter:
            name, address = adapter.split("=")
            self.plug(name, address)
        gone = {"signal_name": "NameOwnerChanged", "dbus_interface": "org.freedesktop.DBus"}
        self.bus.add_signal_receiver(self.owner_changed, **gone)
        self.name = dbus.service.BusName(BLUEZ, self.bus, do_not_queue=True)

    def owner_changed(self, name, _before, now):
        if not now:
            for adapter in list(self.adapters.values()):
                adapter.forget_client(name)

    def complain(self, error):
        self.complaints.append(str(error))

    def add(self, thing):
        self.objects[thing.path] = thing
        self.root.InterfacesAdded(dbus.ObjectPath(thing.path), described(thing))

    def remove(self, thing):
        self.objects.pop(thing.path)
        names = dbus.Array(list(thing.interfaces), signature="s")
        self.root.InterfacesRemoved(dbus.ObjectPath(thing.path), names)
        thing.remove_from_connection()

    def plug(self, name, address):
        self.adapters[name] = Adapter(self, name, address)
        self.add(self.adapters[name])

    def command(self, given):
        match given["do"]:
            case "adv":
                return {"told": self.adapters[given.get("adapter", "hci0")].hear(given)}
            case "strict":
                self.strict = given["on"]
            case "power":
                self.adapters[given["adapter"]].power(given["on"])
            case "stop_discovery":
                self.adapters[given["adapter"]].forget_discovery()
            case "unplug":
                adapter = self.adapters.pop(given["adapter"])
                for address in list(adapter.devices):
                    adapter.forget_device(address)
                self.remove(adapter)
            case "plug":
                self.plug(given["adapter"], given["address"])
            case "fail":
                self.adapters[given["adapter"]].failures.append(given)
            case "storm":
                self.start_storm(given)
            case "stats":
                return self.stats()
        return {}

    def start_storm(self, given):
        """So many packets a second from so many beacons, until the end."""
        beacons, sent = given["beacons"], [0]
        uuid = given["uuid"]

        def packet():
            number = sent[0] % beacons
            sent[0] += 1
            address = "C0:00:00:00:%02X:%02X" % divmod(number, 256)
            data = "0215" + uuid + "0007" + "%04x" % number + "c5"
            self.adapters["hci0"].hear({"address": address, "rssi": -50 - sent[0] % 40, "manufacturer": {"76": data}})

        began = time.monotonic()

        def beat():
            # Beats come late on a busy machine; the rate is kept all the same.
            while sent[0] < (time.monotonic() - began) * given["per_second"]:
                packet()
            return True

        self.storm = GLib.timeout_add(20, beat)

    def stats(self):
        adapters = {}
        for name, adapter in self.adapters.items():
            adapters[name] = {
                **adapter.calls,
                "powered": adapter.powered,
                "discoverers": len(adapter.discoverers),
                "devices": len(adapter.devices),
                "monitors": list(adapter.monitors.values()),
                "filters": [
                    {name: str(value) for name, value in settings.items()} for settings in adapter.filters.values()
                ],
            }
        return {"adapters": adapters, "complaints": self.complaints}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rssi-rule", choices=["5.87", "later"], default="5.87")
    parser.add_argument("--monitor", action="store_true")
    parser.add_argument("--adapter", action="append", default=[])
    options = parser.parse_args()
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    loop = GLib.MainLoop()
    world = World(options)

    def read(_source, _condition):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        print(json.dumps(world.command(json.loads(line))), flush=True)
        return True

    # Lines come one at a time, each only after the answer to the one before, so nothing hides in a buffer.
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, read)
    print(json.dumps({"ready": True}), flush=True)
    loop.run()


main()
