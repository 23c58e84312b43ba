// A headless Firefox that takes its messages from the sandbox.
import { existsSync } from "node:fs";
import puppeteer from "puppeteer-core";

export async function firefox(autopush) {
  const executablePath = process.env.FIREFOX || ["/usr/bin/firefox-esr", "/usr/bin/firefox"].find((path) => existsSync(path));
  if (!executablePath) throw new Error("there is no Firefox; install Debian's firefox-esr, or name one in FIREFOX");
  return puppeteer.launch({
    browser: "firefox",
    executablePath,
    headless: true,
    extraPrefsFirefox: {
      "dom.push.enabled": true,
      "dom.push.connection.enabled": true,
      "dom.push.serverURL": autopush,
      "dom.push.testing.allowInsecureServerURL": true,
      "dom.push.testing.ignorePermission": true,
      "permissions.default.desktop-notification": 1,
      "dom.webnotifications.requireuserinteraction": false,
      // There is no desktop that could show them; Firefox has windows of its own for that.
      "alerts.useSystemBackend": false,
    },
  });
}
