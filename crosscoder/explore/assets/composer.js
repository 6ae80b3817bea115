// Editor of one prompt: a text, or a chat of several turns with a system line.

const ROLES = ["user", "assistant"];

/** An editor of a prompt inside of an element. */
export class Composer {
  /** `title` names the editor for screen readers; without `hasChats` there is plain text alone. */
  constructor(element, title, hasChats, prompt) {
    this.element = element;
    this.title = title;
    this.hasChats = hasChats;
    // a narrower editor needs more lines
    new ResizeObserver(() => this.fitAll()).observe(element);
    this.set(prompt ?? { kind: hasChats ? "chat" : "text", turns: [""], system: "" });
  }

  get() {
    const turns = [...this.turns];
    return { kind: this.kind, turns: this.kind === "text" ? [turns[0]] : turns, system: this.kind === "chat" ? this.system : "" };
  }

  set({ kind, turns, system }) {
    this.kind = kind;
    this.turns = turns.length ? [...turns] : [""];
    this.system = system ?? "";
    this.hasSystem = Boolean(system);
    this.draw();
  }

  focus() {
    this.element.querySelector(".turn.last textarea").focus();
  }

  change(change) {
    change();
    this.draw();
  }

  draw() {
    const chip = (kind, label) =>
      h("button", { type: "button", class: "chip", "aria-pressed": String(this.kind === kind), onclick: () => this.change(() => (this.kind = kind)) }, label);
    const kinds = this.hasChats ? h("div", { class: "kinds", role: "group", "aria-label": `Kind of ${this.title}` }, chip("chat", "Chat"), chip("text", "Plain text")) : null;
    const shown = this.kind === "text" ? this.turns.slice(0, 1) : this.turns;
    const turns = shown.map((text, number) => this.drawTurn(text, number));
    this.element.replaceChildren(...[kinds, this.kind === "chat" ? this.drawSystem() : null, ...turns, this.kind === "chat" ? this.drawButtons() : null].filter(Boolean));
    this.fitAll();
  }

  fitAll() {
    for (const area of this.element.querySelectorAll("textarea")) fit(area);
  }

  drawTurn(text, number) {
    const role = this.kind === "text" ? "text" : ROLES[number % 2];
    const last = number === this.turns.length - 1;
    const placeholder = { text: "Plain text, which the models read as it is", user: "Ask something", assistant: "What the assistant answered" }[role];
    return this.field(role, text, placeholder, (value) => (this.turns[number] = value), last ? "turn last" : "turn");
  }

  drawSystem() {
    return this.hasSystem ? this.field("system", this.system, "System line", (value) => (this.system = value), "turn system") : null;
  }

  field(role, text, placeholder, oninput, css) {
    const area = h("textarea", { rows: 1, placeholder, spellcheck: "false", "aria-label": `${this.title}, ${role}` });
    area.value = text;
    area.addEventListener("input", () => {
      oninput(area.value);
      fit(area);
    });
    return h("div", { class: css }, h("span", { class: "role" }, role), area);
  }

  drawButtons() {
    const button = (label, onclick) => h("button", { type: "button", class: "quiet", onclick }, label);
    const next = ROLES[this.turns.length % 2];
    const add = button(`+ ${next} turn`, () => {
      this.change(() => this.turns.push(""));
      this.focus();
    });
    const remove = this.turns.length > 1 ? button("− last turn", () => this.change(() => this.turns.pop())) : null;
    const system = button(this.hasSystem ? "− system line" : "+ system line", () =>
      this.change(() => {
        this.hasSystem = !this.hasSystem;
        if (!this.hasSystem) this.system = "";
      }),
    );
    return h("div", { class: "adders" }, [add, remove, system].filter(Boolean));
  }
}

/** Make a text area as high as its text. */
function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
