export { postWebhook } from './post-webhook';
