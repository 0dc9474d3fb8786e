// The page on which people choose their password.

import { call, here } from "./outbox.js";
import { Profile } from "./profile.js";
import { speak, t, translate } from "./strings.js";

const error = document.querySelector(".tl-error");
const form = document.querySelector("form");

call("GET", "/api/me").then((me) => {
  document.querySelector(".tl-who").textContent = me.name;
  form.username.value = me.name;
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  error.textContent = "";
  try {
    await call("POST", "/api/password", { current: form.current.value, password: form.password.value });
    location.replace(here("/"));
  } catch (problem) {
    error.textContent = problem instanceof TypeError ? t("login.offline") : problem.message;
    button.disabled = false;
  }
});

await speak(new Profile().settings.locale);
translate(document.body);
document.title = `${t("password.title")} · Trueloop`;
