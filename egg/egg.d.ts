// For Egg 2 and 3: import 'fanfare-egg/egg';
import 'egg';
import { Sse, SseConfig } from './index';

declare module 'egg' {
  interface Application {
    sse: Sse;
  }
  interface EggAppConfig {
    sse: SseConfig;
  }
}
