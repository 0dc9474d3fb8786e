// The sign-in page: sends a name and password, a token, or the secret of a one-time link, and goes on to the pairs.

import { call, here, Refused } from "./outbox.js";
import { Profile } from "./profile.js";
import { speak, t, translate } from "./strings.js";

const error = document.querySelector(".tl-error");
const spoken = speak(new Profile().settings.locale);

async function send(credentials, next) {
  await call("POST", "/api/login", credentials);
  location.replace(here(next));
}

// What stands behind the # is never sent with the page's address, so that no log on the way holds it.
const link = new URLSearchParams(location.hash.slice(1));
const secret = link.get("token") ?? link.get("invited");
if (secret) {
  history.replaceState(null, "", location.pathname);
  send({ token: secret }, link.has("invited") ? "/password" : "/").catch(async (problem) => {
    await spoken;
    const old = problem instanceof Refused && problem.status === 401;
    error.textContent = old ? t("login.link") : problem.message;
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
      error.textContent = problem instanceof TypeError ? t("login.offline") : problem.message;
      button.disabled = false;
    }
  });
}

await spoken;
translate(document.body);
document.title = `${t("login.title")} · Trueloop`;
