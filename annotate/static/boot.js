// Brings the labelling widget to the place that Gradio's page leaves for it. What the widget does is label.js's business.

import { start } from "./label.js";
import { here } from "./outbox.js";

const widget = fetch(here("/page/label.html")).then((answer) => answer.text());

async function put(place) {
  place.innerHTML = await widget; // our own file, nothing of anybody's words
  start(place);
}

function look(watching) {
  const place = document.getElementById("tl-page");
  if (!place) return;
  watching?.disconnect();
  put(place);
}

if (document.getElementById("tl-page")) look();
else new MutationObserver((_, watching) => look(watching)).observe(document.documentElement, { childList: true, subtree: true });
