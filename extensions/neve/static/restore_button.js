// Draws what the traits say and reports a press; all words and decisions come from Python (widget.py).

function element(tag, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Changing a live region's text to the same text would be read out again.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = text === "";
}

function render({ model, el }) {
  const card = element("section", "neve-restore");
  const head = element("div", "neve-restore-head");
  const name = element("strong", "neve-restore-name");
  const badge = element("span", "neve-restore-badge");
  const size = element("span", "neve-restore-size");
  const message = element("p", "neve-restore-message", { role: "status", "aria-live": "polite" });
  const bar = element("progress", "neve-restore-bar", { max: "1" });
  const detail = element("p", "neve-restore-detail");
  const reasons = element("ul", "neve-restore-reasons");
  const error = element("p", "neve-restore-error", { role: "alert" });
  const button = element("button", "neve-restore-button", { type: "button" });
  head.append(name, badge, size);
  card.append(head, message, bar, detail, reasons, error, button);
  el.append(card);

  function draw() {
    const state = model.get("state");
    card.dataset.state = state;
    card.setAttribute("aria-label", model.get("card_label"));
    card.setAttribute("aria-busy", String(state === "asking" || state === "looking"));
    say(name, model.get("name"));
    badge.dataset.tier = model.get("tier");
    say(badge, model.get("tier_text"));
    say(size, model.get("size_text"));
    say(message, model.get("message"));
    bar.hidden = state !== "running";
    bar.value = model.get("done");
    bar.setAttribute("aria-label", model.get("progress_label"));
    say(detail, state === "running" ? model.get("progress_text") : "");
    reasons.replaceChildren(
      ...model.get("reasons").map((reason) => {
        const item = document.createElement("li");
        item.textContent = reason;
        return item;
      }),
    );
    reasons.hidden = model.get("reasons").length === 0;
    say(error, model.get("error"));
    const hadFocus = document.activeElement === button;
    say(button, model.get("button_text"));
    button.setAttribute("aria-label", `${model.get("button_text")}: ${model.get("button_label")}`);
    if (hadFocus && button.hidden) {
      // The focus must not fall to the top of the page when the button goes.
      card.tabIndex = -1;
      card.focus();
    }
  }

  const press = () => model.send({ do: "press" });
  button.addEventListener("click", press);
  model.on("change", draw);
  draw();
  return () => {
    button.removeEventListener("click", press);
    model.off("change", draw);
  };
}

export default { render };
