// The sign-in page: sends a name and password, a token, or the secret of a one-time link, and goes on to the pairs.

import { call, here, Refused } from "./outbox.js";

const error = document.querySelector(".tl-error");
const OLD_LINK = "That sign-in link was used already or has expired. Whoever leads this project can make a new one.";

async function send(credentials, next) {
  await call("POST", "/api/login", credentials);
  location.replace(here(next));
}

// What stands behind the # is never sent with the page's address, so that no log on the way holds it.
const link = new URLSearchParams(location.hash.slice(1));
const secret = link.get("token") ?? link.get("invited");
if (secret) {
  history.replaceState(null, "", location.pathname);
  send({ token: secret }, link.has("invited") ? "/password" : "/").catch((problem) => {
    const old = problem instanceof Refused && problem.status === 401;
    error.textContent = old ? OLD_LINK : problem.message;
  });
}

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    error.textContent = "";
    try {
      await send(Object.fromEntries(new FormData(form)), "/");
    } catch (problem) {
      error.textContent = problem instanceof TypeError ? "The server cannot be reached. Try again." : problem.message;
      button.disabled = false;
    }
  });
}
