import type { Notification } from '../spec';

/** What an incoming webhook of Slack takes, and of what imitates it (Mattermost, Rocket.Chat, Discord's `/slack`). */
export interface SlackMessage {
  /** For notifications and for readers without blocks. */
  readonly text: string;
  readonly blocks: readonly object[];
}

const HEADLINES: Readonly<Record<Notification['event'], string>> = {
  promoted: 'a new result was promoted',
  kept: 'the new result is worse, the old one was kept',
  failed: 'quantization failed',
  'needs-review': 'a job needs review',
};

/** Slack takes 3000 characters in a section; escapes make them longer. */
const MOST_CHARACTERS = 2_000;

/** Block Kit: a headline, what there is to say, and which run said it. */
export function slackMessage({ event, model, run, text }: Notification): SlackMessage {
  const short = text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS - 1)}…`;
  const headline = `${model}: ${HEADLINES[event]}`;
  return {
    text: escaped(`${headline}. ${short}`).slice(0, 3_000),
    blocks: [
      { type: 'section', text: { type: 'mrkdwn', text: `*${escaped(headline).slice(0, 400)}*` } },
      { type: 'section', text: { type: 'plain_text', text: short } },
      { type: 'context', elements: [{ type: 'plain_text', text: run }] },
    ],
  };
}

/** The three characters that Slack gives a meaning to. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
