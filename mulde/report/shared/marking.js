// What a person says of an event: a button for each mark, and a form that asks why something is normal.

// marks: [{ mark, text, key, title, disabled }]; say(mark) is called by the buttons, the one of `current` is pressed.
function markButtons(marks, current, say) {
  return marks.map(({ mark, text, key, title, disabled }) => {
    const button = element('button', { type: 'button', disabled: Boolean(disabled) }, text, element('kbd', {}, key));
    if (title) button.title = title;
    if (mark) button.setAttribute('aria-pressed', current === mark);
    button.addEventListener('click', () => say(mark));
    return button;
  });
}

// A form that is hidden until `askWhy`; submit(why) gets what was written. more: further labels and inputs.
function whyForm(words, submit, ...more) {
  const input = element('input', {
    id: 'why', type: 'text', autocomplete: 'off', maxLength: 1000, placeholder: 'as: delivery van, comes every day',
  });
  const submitting = element('button', { type: 'submit', className: 'main' }, words);
  const cancel = element('button', { type: 'button' }, 'Cancel');
  const form = element(
    'form', { id: 'why-form', hidden: true }, element('label', { htmlFor: 'why' }, 'Why is this normal? (may stay empty)'),
    element('div', { className: 'buttons' }, input, ...more, submitting, cancel),
  );
  cancel.addEventListener('click', () => (form.hidden = true));
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    form.hidden = true;
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.hidden = true;
    submit(input.value.trim());
  });
  return form;
}

function askWhy() {
  const form = byId('why-form');
  if (!form) return;
  form.hidden = false;
  byId('why').focus();
}
