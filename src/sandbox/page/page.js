// Shows each device's notifications as the device would. Text only ever becomes text: no markup is made of what came.
"use strict";

const DEVICES_MAX = 60;
const CARDS_MAX = 30;
const REFUSED_MAX = 50;
const ICONS = { apns: "iOS", fcm: "And", webpush: "Web" };

const state = document.getElementById("state");
const devices = document.getElementById("devices");
const refused = document.getElementById("refused");
const sections = new Map();
const counts = { accepted: 0, refused: 0 };

function add(parent, tag, className, text) {
  if (text === undefined || text === null || text === "") return null;
  const element = parent.appendChild(document.createElement(tag));
  if (className) element.className = className;
  element.textContent = String(text);
  return element;
}

// The device's cards, by what replaces what; the device that something came for last stands first.
function section(target, label) {
  let known = sections.get(target);
  if (known) {
    sections.delete(target);
  } else {
    const element = document.getElementById("device").content.firstElementChild.cloneNode(true);
    element.querySelector("h2").textContent = label;
    known = { element, cards: new Map() };
  }
  sections.set(target, known);
  devices.prepend(known.element);
  if (sections.size > DEVICES_MAX) {
    const [oldest] = sections.keys();
    sections.get(oldest).element.remove();
    sections.delete(oldest);
  }
  return known;
}

function heading(card, message, name) {
  add(card, "span", "icon " + message.channel, ICONS[message.channel] || "?");
  add(card, "span", "title", name);
  add(card, "time", "", message.at.slice(11, 19));
}

function remarks(card, message) {
  for (const remark of message.remarks || []) add(card, "span", "remark", remark);
}

function notification(card, message) {
  heading(card, message, message.title || "(no title)");
  add(card, "span", "text", message.body);
  add(card, "span", "small", message.deep_link);
  remarks(card, message);
}

function fields(card, object) {
  if (object === null || typeof object !== "object") return;
  const list = card.appendChild(document.createElement("dl"));
  for (const [name, value] of Object.entries(object)) {
    add(list, "dt", "", name);
    add(list, "dd", "", typeof value === "object" ? JSON.stringify(value) : value) || add(list, "dd", "", " ");
  }
}

function activity(card, message, kept) {
  const push = message.activity;
  kept.type = push.attributes_type || kept.type || "Live Activity";
  if (push.attributes) kept.attributes = push.attributes;
  if (push.state) kept.state = push.state;
  heading(card, message, kept.type);
  add(card, "span", "text", message.title && [message.title, message.body].filter(Boolean).join(": "));
  fields(card, kept.attributes);
  fields(card, kept.state);
  add(card, "span", "small", push.event === "end" ? "ended" : push.event);
  card.classList.add("activity");
  card.classList.toggle("ended", push.event === "end");
}

// A card with the same key is filled anew where it stands if it is an activity, and else goes to the top.
function show(message) {
  const push = message.activity;
  const target = push ? push.card : message.target;
  const key = push ? "activity" : message.collapse ? "collapse " + message.collapse : "message " + message.sequence;
  if (!push && !message.title && !message.body) return;
  const label = [message.app, message.topic, target].filter(Boolean).join(" · ");
  const { element, cards } = section(target, label);
  const list = element.querySelector(".cards");
  let known = cards.get(key);
  if (known && push && known.at > push.timestamp) return;
  if (!known) known = { card: document.createElement("li"), kept: {} };
  known.at = push ? push.timestamp : 0;
  known.card.className = "card";
  known.card.replaceChildren();
  if (push) activity(known.card, message, known.kept);
  else notification(known.card, message);
  if (!cards.has(key) || !push) list.prepend(known.card);
  cards.delete(key);
  cards.set(key, known);
  if (cards.size > CARDS_MAX) {
    const [oldest] = cards.keys();
    cards.get(oldest).card.remove();
    cards.delete(oldest);
  }
}

function refuse(message) {
  const item = document.createElement("li");
  const { status, reason } = message.refused;
  item.textContent = [message.at.slice(11, 19), message.channel, status, reason, message.target].join(" · ");
  refused.prepend(item);
  if (refused.children.length > REFUSED_MAX) refused.lastChild.remove();
}

const events = new EventSource("events");
events.onopen = () => { state.textContent = "Nothing received yet."; };
events.onerror = () => { state.textContent = "The sandbox does not answer."; };
events.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if (message.refused) {
    counts.refused += 1;
    refuse(message);
  } else {
    counts.accepted += 1;
    show(message);
  }
  state.textContent = counts.accepted + " accepted, " + counts.refused + " refused since this page was opened";
};
