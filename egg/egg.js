'use strict';

// egg.d.ts adds app.sse to the types of Egg 2 and 3. A compiler keeps `import 'fanfare-egg/egg'`: there has to be something to run.
