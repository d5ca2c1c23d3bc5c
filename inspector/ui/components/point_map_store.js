/* Receives one part of a map (places, colours, light or tips) in a message of its own, so that a
   click sends none of them again, and hands it to the map of the same name on this page. */
export default function ({ data }) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const name = `${header.map}/${header.part}`;
  const store = (globalThis.pointMapParts ??= new Map());
  if (store.get(name)?.digest !== header.digest) {
    const cells = bytes.slice(4 + length).buffer; // a copy of its own, aligned to whole words
    store.set(name, { ...header, cells });
    document.dispatchEvent(new CustomEvent("point-map-part", { detail: header.map }));
  }
  return () => {
    if (store.get(name)?.digest === header.digest) store.delete(name);
  };
}
