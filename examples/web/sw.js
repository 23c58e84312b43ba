// Shows what the daemon sends. A browser that knows declarative messages shows them without asking here, unless they are
// marked as mutable; every other browser hands over the same JSON.
"use strict";

const DECLARATIVE = 8030;

function read(data) {
  let document = {};
  try {
    document = data.json();
  } catch {
    return { title: data.text(), options: {} };
  }
  const notification = document.notification || document;
  const { title, body, lang, dir, tag, silent, icon, actions } = notification;
  const own = notification.data || {};
  const options = { body, lang, dir, tag, silent, icon, actions: actions && actions.map(({ action, title }) => ({ action, title })) };
  for (const name of Object.keys(options)) if (options[name] === undefined || options[name] === null) delete options[name];
  options.data = {
    id: own.notification_id,
    url: document.web_push === DECLARATIVE ? notification.navigate : own.deep_link,
    actions: Object.fromEntries((actions || []).map(({ action, navigate }) => [action, navigate])),
  };
  return { title, options, badge: document.app_badge };
}

async function show(data) {
  const { title, options, badge } = read(data);
  if (typeof badge === "number" && navigator.setAppBadge) {
    await (badge ? navigator.setAppBadge(badge) : navigator.clearAppBadge());
  }
  if (!title) return;
  // The same tag takes the old one's place; that is to be noticed all the same.
  if (options.tag) options.renotify = !options.silent;
  await self.registration.showNotification(title, options);
  await tellPages();
}

async function tellPages() {
  for (const page of await self.clients.matchAll({ type: "window" })) page.postMessage("changed");
}

// The daemon counts what was opened. That it cannot be told just now is no reason not to open the page.
async function report(id) {
  if (!id) return;
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ milestone: "opened" });
  await fetch("push/receipts/" + encodeURIComponent(id), { method: "POST", headers, body, keepalive: true }).catch(() => {});
}

async function open(notification, action, mayOpen) {
  const { id, url, actions } = notification.data || {};
  notification.close();
  await report(id);
  await tellPages();
  const page = (action && actions && actions[action]) || url;
  // Browsers open windows for a tap only.
  if (page && mayOpen) await self.clients.openWindow(page);
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => {
  if (event.data) event.waitUntil(show(event.data));
});
self.addEventListener("notificationclick", (event) => {
  event.waitUntil(open(event.notification, event.action, true));
});
self.addEventListener("message", (event) => {
  const named = async () => {
    const [notification] = await self.registration.getNotifications({ tag: event.data.open });
    if (notification) await open(notification, "", false);
  };
  if (event.data && event.data.open) event.waitUntil(named());
});
