"use strict";
// Renders /api/openapi.json as a list of routes. Everything is put in as text, never as markup.
const make = (name, className, ...children) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
};

const short = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.oneOf) return schema.oneOf.map(short).join(" | ");
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type || "any";
  return type === "array" ? short(schema.items) + "[]" : type;
};

const fields = (document_, schema) => {
  const found = schema && schema.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema;
  const rows = Object.entries((found && found.properties) || {}).map(([name, property]) =>
    make("tr", "", make("td", "", make("code", "", name)), make("td", "", short(property)),
      make("td", "", ((found.required || []).includes(name) ? "required. " : "") + (property.description || ""))));
  return rows.length ? make("table", "", ...rows) : make("p", "", make("code", "", short(schema) || "bytes"));
};

const route = (document_, method, path, operation) => {
  const summary = make("summary", "", make("span", "method " + method, method), make("code", "", path),
    make("span", "", operation.summary || ""));
  const box = make("details", "", summary);
  box.dataset.text = (method + " " + path + " " + (operation.summary || "")).toLowerCase();
  if (operation.description) box.append(make("p", "", operation.description));
  if (operation.parameters) {
    const rows = operation.parameters.map((p) => make("tr", "", make("td", "", make("code", "", p.name)),
      make("td", "", p.in), make("td", "", short(p.schema)), make("td", "", p.description || "")));
    box.append(make("h3", "", "Parameters"), make("table", "", ...rows));
  }
  for (const [type, content] of Object.entries((operation.requestBody && operation.requestBody.content) || {}))
    box.append(make("h3", "", "Body: " + type), fields(document_, content.schema));
  for (const [status, response] of Object.entries(operation.responses || {})) {
    box.append(make("h3", "", status + " " + (response.description || "")));
    for (const content of Object.values(response.content || {})) box.append(fields(document_, content.schema));
  }
  return box;
};

const show = (document_) => {
  const groups = new Map();
  for (const [path, item] of Object.entries(document_.paths))
    for (const [method, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(document_, method.toUpperCase(), path, operation));
    }
  const main = document.getElementById("routes");
  main.replaceChildren(...[...groups].flatMap(([tag, boxes]) => [make("h2", "", tag), ...boxes]));
};

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const box of document.querySelectorAll("details")) box.hidden = !box.dataset.text.includes(wanted);
});
fetch("/api/openapi.json").then((answer) => answer.json()).then(show, (error) => {
  document.getElementById("routes").textContent = String(error);
});
