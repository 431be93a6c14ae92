"use strict";

const byId = (id) => document.getElementById(id);
const base = (location.protocol === "https:" ? "wss://" : "ws://") + location.host;
const RETRY_MS = 1000;
const ANIMALS = ["Otter", "Heron", "Lynx", "Finch", "Badger", "Newt", "Wren", "Hare"];

let room = location.hash.slice(1) || "lobby";
let socket = null;

byId("name").value = new URLSearchParams(location.search).get("name") ||
  ANIMALS[Math.floor(Math.random() * ANIMALS.length)];

function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}

function add(item, kind) {
  const log = byId("log");
  item.className = kind;
  log.append(item);
  log.scrollTop = log.scrollHeight;
}

function addNote(text) {
  const item = document.createElement("li");
  item.textContent = text;
  add(item, "note");
}

function addSaid(message) {
  const item = document.createElement("li");
  const name = document.createElement("b");
  const time = document.createElement("time");
  const text = document.createElement("p");
  name.textContent = message.name;
  time.textContent = clockTime(message.at);
  text.textContent = message.text; // never as HTML: it comes from someone else
  item.append(name, time, text);
  add(item, message.name === byId("name").value ? "said mine" : "said");
}

const receive = {
  said: addSaid,
  joined: (message) => addNote(`${message.name} came in`),
  left: (message) => addNote(`${message.name} left`),
  members(message) {
    byId("members").replaceChildren(...message.names.map((name) => {
      const item = document.createElement("li");
      item.textContent = name;
      return item;
    }));
  },
};

function showState(state) {
  byId("state").dataset.state = state;
  byId("state").textContent = state;
}

function enter() {
  if (socket) {
    socket.onclose = null;
    socket.close();
  }
  byId("title").textContent = `# ${room}`;
  byId("log").replaceChildren();
  for (const button of byId("rooms").children)
    button.toggleAttribute("aria-current", button.dataset.room === room);
  showState("connecting");
  const name = encodeURIComponent(byId("name").value);
  const mine = new WebSocket(`${base}/chat/${encodeURIComponent(room)}?name=${name}`);
  socket = mine;
  mine.onopen = () => showState("open");
  mine.onmessage = (event) => {
    const message = JSON.parse(event.data);
    receive[message.type](message);
  };
  mine.onclose = () => {
    showState("closed");
    setTimeout(() => { if (socket === mine) enter(); }, RETRY_MS);
  };
}

function followClock() {
  const clock = new WebSocket(`${base}/clock`);
  clock.onmessage = (event) => {
    const { now, connections, messages } = JSON.parse(event.data);
    byId("time").textContent = clockTime(now);
    byId("connections").textContent = connections.toLocaleString();
    byId("messages").textContent = messages.toLocaleString();
  };
  clock.onclose = () => setTimeout(followClock, RETRY_MS);
}

byId("rooms").onclick = (event) => {
  if (!event.target.dataset.room) return;
  room = event.target.dataset.room;
  location.hash = room;
  enter();
};
byId("name").onchange = enter;
byId("form").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState === WebSocket.OPEN && byId("text").value.trim()) {
    socket.send(byId("text").value);
    byId("text").value = "";
  }
};

enter();
followClock();
