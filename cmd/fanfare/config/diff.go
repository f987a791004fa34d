package config

import "reflect"

// Diff returns the names of the settings whose values differ, in the order of the schema, and those among them that need a
// restart to take effect. An empty list or map is equal to none.
func Diff(old, new *Config) (changed, needRestart []string) {
	for i := range schema {
		s := &schema[i]
		a, b := reflect.ValueOf(s.value(old)), reflect.ValueOf(s.value(new))
		if (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
			continue
		}
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		changed = append(changed, s.Name)
		if !s.Reload {
			needRestart = append(needRestart, s.Name)
		}
	}
	return changed, needRestart
}
