export { RELEASES_FILE, type Release } from './release-record';
export { CURRENT_LINK, findRelease, settleRelease } from './settle-release';
