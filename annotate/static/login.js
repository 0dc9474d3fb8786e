// The sign-in page: sends a name and password, or a token, and goes on to the pairs.

import { call } from "./outbox.js";

const error = document.querySelector(".tl-error");
const reason = new URLSearchParams(location.search).get("reason");
if (reason === "link") error.textContent = "That sign-in link was used already or has expired. Start the server again for a new one.";

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    error.textContent = "";
    try {
      await call("POST", "/api/login", Object.fromEntries(new FormData(form)));
      location.replace("/");
    } catch (problem) {
      error.textContent = problem instanceof TypeError ? "The server cannot be reached. Try again." : problem.message;
      button.disabled = false;
    }
  });
}
