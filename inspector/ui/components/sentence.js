export default function ({ data, parentElement }) {
  const line = parentElement.querySelector(".sentence");
  line.replaceChildren(
    ...data.parts.map(([text, kind]) => {
      const part = document.createElement("span");
      part.className = kind;
      part.dir = kind === "token" || kind === "quote" ? "auto" : "";
      part.textContent = text;
      return part;
    }),
  );
}
