// Single keys as commands.

// Whether a key is meant as a command: not while somebody writes, and not what a button or a player takes for itself.
function isCommand(event, singleKeysAreOn) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.target.closest('input, select, textarea, video')) return false;
  if (event.key === ' ' && event.target.closest('button')) return false;
  return event.key.length > 1 || singleKeysAreOn;
}

// Does what `actions` have for the key, if anything.
function act(event, actions) {
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}
