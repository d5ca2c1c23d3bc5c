/* The browser's half of selection.py: shows a click at once, and keeps showing it until a run
   has heeded it, so that a slower earlier run cannot move the selection back. */
function createSelection(root, data, setStateValue) {
  if (root.pickSubject !== data.subject || root.pendingPick?.nonce === data.nonce) {
    root.pendingPick = null;
  }
  root.pickSubject = data.subject;
  return {
    get value() {
      return root.pendingPick ? root.pendingPick.value : data.selected;
    },
    pick(value) {
      const nonce = Math.max(Date.now(), (root.lastNonce ?? 0) + 1);
      root.lastNonce = nonce;
      root.pendingPick = { value, subject: data.subject, nonce };
      setStateValue("pick", root.pendingPick);
    },
  };
}
