package vectors

import (
	"errors"
	"fmt"
)

// check tells what is wrong with the vectors: a check that passes over some of them would guard nothing.
func check(all []Vector) error {
	var errs []error
	found := map[HTTP]int{}
	for _, v := range all {
		found[v.HTTP]++
		switch _, known := differs[v.Name]; {
		case counts[v.HTTP] == 0:
			errs = append(errs, fmt.Errorf("%s: unknown http %q", v.Name, v.HTTP))
		case v.HTTP == Differs != known:
			errs = append(errs, fmt.Errorf("%s: http is %q, and it has other bytes in differs: %v", v.Name, v.HTTP, known))
		case v.HTTP == NodeOnly && v.JSON != "":
			errs = append(errs, fmt.Errorf("%s: it has JSON, so it can be published over HTTP", v.Name))
		}
	}
	for kind, n := range counts {
		if found[kind] != n {
			errs = append(errs, fmt.Errorf("%d vectors are %q, want %d", found[kind], kind, n))
		}
	}
	return errors.Join(errs...)
}
