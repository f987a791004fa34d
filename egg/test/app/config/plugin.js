'use strict';

exports.sse = {
  enable: true,
  package: 'egg-sse',
};
