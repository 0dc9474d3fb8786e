// What I have judged, newest first, to look at and to revise. Which revision counts is the server's business.

import { saying } from "./campaign.js";
import { make } from "./make.js";
import { call } from "./outbox.js";
import { t } from "./strings.js";

const PAGE = 20;

export class History {
  labels = [];

  /** `revise(label)` hears which one is to be judged anew. */
  constructor(dialog, { campaign, revise }) {
    this.dialog = dialog;
    this.campaign = campaign;
    this.list = dialog.querySelector("ol");
    this.list.addEventListener("click", (event) => {
      const uuid = event.target.closest("button")?.dataset.uuid;
      const label = this.labels.find((each) => each.uuid === uuid);
      if (!label) return;
      dialog.close();
      revise(label);
    });
  }

  async open() {
    this.labels = [];
    this.list.replaceChildren();
    this.dialog.showModal();
    await this.older();
  }

  /** Show the next page, from where the list ends. */
  async older() {
    const before = this.labels.length ? `&before=${this.labels.at(-1).uuid}` : "";
    const more = this.dialog.querySelector("[data-act=older]");
    const said = this.dialog.querySelector(".tl-small");
    try {
      const { labels } = await call("GET", `/api/history?n=${PAGE}${before}`);
      this.labels.push(...labels);
      this.list.append(...labels.map((label) => this.#row(label)));
      more.hidden = labels.length < PAGE;
      said.textContent = t(this.labels.length ? "history.how" : "history.none");
    } catch (error) {
      more.hidden = false;
      said.textContent = error instanceof TypeError ? t("history.offline") : error.message;
    }
  }

  #row(label) {
    const at = new Date(label.created_at * 1000).toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "short" });
    const content = label.task.prompt.findLast((turn) => turn.role === "user")?.content ?? "";
    const text = typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
    return make(
      "li",
      {},
      make(
        "button",
        { data: { uuid: label.uuid } },
        make("span.tl-said", {}, saying(this.campaign(), label.task, label)),
        make("span.tl-about", { dir: "auto" }, text.slice(0, 120)),
        make("time", {}, at),
      ),
    );
  }
}
