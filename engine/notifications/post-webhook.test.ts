import { signWebhook } from './post-webhook';
import { slackMessage } from './slack-message';

test('the signature is that of the example in the documentation of Slack', () => {
  // docs.slack.dev/authentication/verifying-requests-from-slack
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar' +
    '&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com' +
    '%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
  expect(signWebhook('8f742231b10e8888abcd99yyyzzz85a5', '1531420618', body)).toBe(
    'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
  );
});

test('what Slack would take for markup is escaped, and long texts fit', () => {
  const base = { event: 'kept', model: 'a<b>&c', run: 'run', delivery: 'd' } as const;
  expect(slackMessage({ ...base, text: 'x < y' }).text).toBe(
    'a&lt;b&gt;&amp;c: the new result is worse, the old one was kept. x &lt; y',
  );
  const long = slackMessage({ ...base, text: '<'.repeat(10_000) });
  expect(long.text.length).toBeLessThanOrEqual(3_000);
  for (const block of long.blocks as { text?: { text: string } }[]) {
    expect(block.text?.text.length ?? 0).toBeLessThanOrEqual(3_000);
  }
});
