// For Egg 4: import 'fanfare-egg/egg4';
import '@eggjs/core';
import { Sse, SseConfig } from './index';

declare module '@eggjs/core' {
  interface EggCore {
    sse: Sse;
  }
  interface EggAppConfig {
    sse: SseConfig;
  }
}
