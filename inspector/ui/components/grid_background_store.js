/* Receives the background bytes in a message of their own, so that a click on a read does not
   send them again, and hands them to the grid of the same name on this page. */
export default function ({ data }) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const headerLength = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerLength)));
  const store = (globalThis.keyGridBackgrounds ??= new Map());
  if (store.get(header.grid)?.digest !== header.digest) {
    store.set(header.grid, { digest: header.digest, cells: bytes.slice(4 + headerLength) });
    document.dispatchEvent(new CustomEvent("key-grid-background", { detail: header.grid }));
  }
  return () => store.delete(header.grid);
}
