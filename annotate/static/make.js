// Elements made in one line. Everything from outside becomes text, never markup.

/** An element `tag.class.class` with properties, data-* (in `data`), aria-* and children (strings become text). */
export function make(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  if (tag === "button") element.type = "button";
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A key's chip, which only eyes need: the button it stands on names the key for screen readers. */
export function chip(name) {
  return name ? make("kbd", { "aria-hidden": "true" }, name) : null;
}
