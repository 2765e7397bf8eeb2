package api

import (
	"maps"
	"reflect"
)

// togetherIPs keeps the two fields of a Service's own addresses together where a client has changed but one of them, as Kubernetes' API does: the older
// one alone was changed by a client that knows no other. seen and wish are the Service before and after; wish is changed. The result is seen as a file is
// compared with it: one that is to state the newer field states both.
func togetherIPs(seen, wish map[string]any) map[string]any {
	was, is := below(seen, "spec"), below(wish, "spec")
	one, all := is["clusterIP"], is["clusterIPs"]
	kept, repeated := reflect.DeepEqual(one, was["clusterIP"]), reflect.DeepEqual(all, was["clusterIPs"])
	switch {
	case kept && all == nil && !repeated:
		is["clusterIPs"] = was["clusterIPs"]
	case !kept && (all == nil || repeated):
		if delete(is, "clusterIPs"); one != nil && one != "" {
			is["clusterIPs"] = []any{one}
		}
	}
	if reflect.DeepEqual(is["clusterIPs"], was["clusterIPs"]) {
		return seen
	}
	seen, spec := maps.Clone(seen), maps.Clone(was)
	delete(spec, "clusterIP")
	seen["spec"] = spec
	return seen
}
