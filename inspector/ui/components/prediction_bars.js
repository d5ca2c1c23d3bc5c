export default function ({ data, parentElement }) {
  const list = parentElement.querySelector(".prediction-bars");
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(...data.predictions.map(buildPrediction));
}

function buildPrediction([token, probability]) {
  const item = document.createElement("li");
  item.className = "prediction";
  const name = document.createElement("span");
  name.className = "prediction-token";
  name.dir = "auto";
  name.textContent = token;
  name.title = token;
  const track = document.createElement("span");
  track.className = "prediction-track";
  const fill = document.createElement("div");
  fill.className = "prediction-fill";
  fill.style.width = `${probability * 100}%`;
  track.appendChild(fill);
  const share = document.createElement("span");
  share.className = "prediction-share";
  share.textContent = percent(probability);
  item.append(name, track, share);
  return item;
}
