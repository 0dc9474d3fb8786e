// The way to the server: who is here, what is asked, the outbox and the tray; what waits is sent, what is held is kept
// alive, what went wrong is told. What is on screen is label.js's business.

import { loadCampaign } from "./campaign.js";
import { call, here, Outbox, Refused } from "./outbox.js";
import { t } from "./strings.js";
import { Tray } from "./tray.js";

export const LOOK_AGAIN_MS = 5_000;
const CONNECT_AGAIN_MS = 3_000;
const ASK_AGAIN_MS = 60_000; // how often to look whether the campaign asks something else by now

export class Connection {
  campaign = null;
  outbox = null;
  tray = null;

  constructor(screen) {
    this.screen = screen;
    this.status = screen.status;
  }

  async open() {
    setInterval(() => this.tick(), LOOK_AGAIN_MS);
    document.addEventListener("visibilitychange", () => this.tick());
    await this.connect();
  }

  async connect() {
    try {
      const [me, campaign] = await Promise.all([call("GET", "/api/me"), loadCampaign(), this.#profile()]);
      this.campaign = campaign;
      this.asked = performance.now();
      this.screen.met(me);
      this.outbox = new Outbox(me.id, {
        changed: () => this.status.saved(this.outbox),
        stored: (entry, answer) => this.screen.stored(entry, answer),
        refused: (entry, error) => this.status.notice(t("refused", { why: error.message })),
        signedOut: () => this.signedOut(),
        unkept: () => this.status.notice(t("storage.full")),
      });
      this.tray = new Tray(this.outbox, {
        changed: (why) => this.screen.changed(why),
        progress: (progress) => this.#progress(progress),
        trouble: (error) => this.#trouble(error),
      });
      this.#hearTabs(me.id);
      await this.outbox.flush();
      await this.tray.fill();
    } catch (error) {
      this.#trouble(error);
    }
    if (!this.outbox) setTimeout(() => this.connect(), CONNECT_AGAIN_MS);
  }

  async #profile() {
    const { profile } = this.screen;
    const { locale } = profile.settings;
    await profile.load();
    if (profile.settings.locale !== locale) await this.screen.speak(profile.settings.locale);
  }

  /** Every few seconds in a visible tab: look for pairs when there are none, send what waits, keep leases alive. */
  async tick() {
    if (document.visibilityState !== "visible" || !this.outbox) return;
    if (this.outbox.size) this.outbox.flush();
    if (this.screen.state === "rest" || performance.now() - this.asked > ASK_AGAIN_MS) await this.#ask();
    if (this.tray.low) this.tray.fill();
    this.tray.renew();
  }

  /** What the campaign asks by now: it holds from the next pair on. */
  async #ask() {
    const before = this.campaign.guideline?.id;
    this.campaign = await loadCampaign().catch(() => this.campaign);
    this.asked = performance.now();
    if (this.campaign.guideline?.id !== before) this.screen.guideline.take(this.campaign.guideline);
  }

  /** What is judged in one tab is not asked in another. */
  #hearTabs(owner) {
    this.tabs = new BroadcastChannel(`trueloop.${owner}`);
    this.tabs.onmessage = ({ data }) => this.tray.drop(data.slot);
  }

  tellTabs(slot) {
    this.tabs.postMessage({ slot });
  }

  /** Sign out, when everything is saved or is meant to wait. */
  async leave() {
    await this.outbox?.flush();
    const waiting = this.outbox?.size ?? 0;
    if (waiting && !confirm(`${t("leave.unsaved")} ${t("kept", { n: waiting })} ${t("leave.sure")}`)) return;
    await call("POST", "/api/logout").catch(() => {});
    location.assign(here("/login"));
  }

  // --- what the page says of it --------------------------------------------------------------------------------------

  /** Say again what was told last: the language has changed. */
  told() {
    if (this.status.latest) this.status.progress(this.status.latest);
    if (this.outbox) this.status.saved(this.outbox);
  }

  #progress(progress) {
    this.outbox.reached();
    this.status.progress(progress);
    this.status.saved(this.outbox);
  }

  signedOut() {
    this.screen.locked = true;
    this.status.signedOut(this.outbox?.size ?? 0);
  }

  #trouble(error) {
    if (error.status === 401) this.signedOut();
    else if (error instanceof Refused && error.status < 500) this.status.notice(error.message);
    else if (this.outbox) {
      this.outbox.offline = true;
      this.status.saved(this.outbox);
    }
  }
}
