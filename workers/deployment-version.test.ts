import { readVersion } from './deployment-version';

test('a version is a deployment and a build, or nothing', () => {
  const both = { TEMPORAL_DEPLOYMENT_NAME: 'quantloom', TEMPORAL_WORKER_BUILD_ID: '1.2.0' };
  expect(readVersion(both)).toEqual({ deploymentName: 'quantloom', buildId: '1.2.0' });
  expect(readVersion({})).toBeNull();
  expect(readVersion({ TEMPORAL_DEPLOYMENT_NAME: '', TEMPORAL_WORKER_BUILD_ID: '' })).toBeNull();
});

test('one without the other is refused, and said which is missing', () => {
  expect(() => readVersion({ TEMPORAL_DEPLOYMENT_NAME: 'quantloom' })).toThrow(/--build-id\) is not/);
  expect(() => readVersion({ TEMPORAL_WORKER_BUILD_ID: '1.2.0' })).toThrow(/--deployment\) is not/);
});
