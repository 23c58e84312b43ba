// Subscribes this browser and registers it as a device. Works with and without a browser that shows declarative messages
// by itself: the worker shows what it is handed.

const state = document.getElementById("state");
const shown = document.getElementById("shown");
const subscribeButton = document.getElementById("subscribe");
const unsubscribeButton = document.getElementById("unsubscribe");

function bytes(base64url) {
  const base64 = base64url.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// The same installation keeps its name, so that a new subscription takes the old one's place.
function device() {
  let id = localStorage.getItem("device");
  if (!id) {
    id = "web-" + crypto.randomUUID();
    localStorage.setItem("device", id);
  }
  return id;
}

async function ask(path, method, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

async function register(subscription) {
  await ask("push/devices/" + encodeURIComponent(device()), "PUT", {
    platform: "web",
    locale: navigator.language,
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    target: { channel: "webpush", subscription: subscription.toJSON() },
  });
}

async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") {
    state.textContent = "This browser may not show notifications.";
    return;
  }
  const worker = await navigator.serviceWorker.ready;
  const { key } = await ask("push/key", "GET");
  const subscription = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  await register(subscription);
  await tell();
}

async function unsubscribe() {
  const worker = await navigator.serviceWorker.ready;
  const subscription = await worker.pushManager.getSubscription();
  await subscription?.unsubscribe();
  await tell();
}

async function tell() {
  const worker = await navigator.serviceWorker.ready;
  const subscribed = Boolean(await worker.pushManager.getSubscription());
  state.textContent = subscribed ? "This browser is told as " + device() + "." : "This browser is not told.";
  unsubscribeButton.hidden = !subscribed;
}

async function list() {
  const worker = await navigator.serviceWorker.ready;
  const items = (await worker.getNotifications()).map((notification) => {
    const item = document.createElement("li");
    const open = document.createElement("button");
    open.type = "button";
    open.textContent = notification.title;
    // What a tap on the notification itself does too.
    open.onclick = () => worker.active.postMessage({ open: notification.tag });
    item.append(open);
    item.append(Object.assign(document.createElement("small"), { textContent: notification.body }));
    return item;
  });
  shown.replaceChildren(...items);
}

subscribeButton.onclick = () => subscribe().catch((error) => { state.textContent = String(error); });
unsubscribeButton.onclick = () => unsubscribe().catch((error) => { state.textContent = String(error); });
navigator.serviceWorker.onmessage = () => list();

if ("serviceWorker" in navigator && "PushManager" in window) {
  await navigator.serviceWorker.register("sw.js");
  // A browser may change its subscription by itself, and a back end may have lost it.
  const worker = await navigator.serviceWorker.ready;
  const subscription = await worker.pushManager.getSubscription();
  if (subscription) await register(subscription);
  await tell();
  await list();
} else {
  state.textContent = "This browser has no push messages.";
  subscribeButton.disabled = true;
}
