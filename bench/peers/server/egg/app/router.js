'use strict';

module.exports = app => {
  app.post('/publish', app.controller.publish.create);
};
