package network

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	// redirectsPath is or-ed with the setting of each interface. What goes from pod to pod leaves the machine where it came in, and the kernel
	// would tell the sender that there is a shorter way; that takes from what it may send in errors, so that a refusal by UDP is never heard.
	// With 0 here each other interface is as its own setting says, which is 1 unless somebody wanted it otherwise.
	redirectsPath = "/proc/sys/net/ipv4/conf/all/send_redirects"
)

// settings are what of the machine's settings was otherwise before the first berth needed them.
type settings struct {
	// ForwardingWasOff says that ip_forward was 0.
	ForwardingWasOff bool `json:"forwardingWasOff,omitempty"`
	// RedirectsWereOn says that send_redirects was 1 for all.
	RedirectsWereOn bool `json:"redirectsWereOn,omitempty"`
	settings6
}

// The words of an alias.
const (
	wasOffWords, wereOnWords = "ip_forward was 0", "send_redirects was 1"
	aliasPrefix              = "berth: "
	longestAlias             = 255 // IFALIASZ
)

// alias is what a bridge of ours is labelled with, for the next instance, which cannot see it any more; "" for nothing.
func (s settings) alias() string {
	var words []string
	if s.ForwardingWasOff {
		words = append(words, wasOffWords)
	}
	if s.RedirectsWereOn {
		words = append(words, wereOnWords)
	}
	words = append(words, s.words()...)
	if len(words) == 0 {
		return ""
	}
	text := aliasPrefix + strings.Join(words, ", ")
	if len(text) > longestAlias {
		text = text[:strings.LastIndexByte(text[:longestAlias+1], ' ')]
	}
	return text
}

func settingsOf(alias string) settings {
	text, ok := strings.CutPrefix(alias, aliasPrefix)
	if !ok {
		return settings{}
	}
	return settings{strings.Contains(text, wasOffWords), strings.Contains(text, wereOnWords), settings6Of(text)}
}

func (s settings) or(o settings) settings {
	return settings{s.ForwardingWasOff || o.ForwardingWasOff, s.RedirectsWereOn || o.RedirectsWereOn, s.settings6.or(o.settings6)}
}

func readSettings() (settings, error) {
	forward, err := isOn(forwardingPath)
	if err != nil {
		return settings{}, err
	}
	redirects, err := isOn(redirectsPath)
	return settings{ForwardingWasOff: !forward, RedirectsWereOn: redirects}, err
}

// needed are the settings that pods need: the machine forwards packets, and does not comment on those of this bridge.
func needed(bridge string) map[string]string {
	const conf = "/proc/sys/net/ipv4/conf/"
	return map[string]string{forwardingPath: "1", conf + bridge + "/forwarding": "1", redirectsPath: "0", conf + bridge + "/send_redirects": "0"}
}

// ensureSettings sets them.
func ensureSettings(bridge string) error {
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(needed(bridge)))) { // that for all first
		value := needed(bridge)[path]
		on, err := isOn(path)
		if err == nil && on != (value == "1") {
			err = set(path, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changedSettings says which settings are not as pods need them.
func (n *Network) changedSettings() []string {
	all := needed(n.cfg.bridge())
	if n.kept.IPv6 {
		maps.Copy(all, needed6(n.cfg.bridge()))
	}
	var changed []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) != all[path] {
			changed = append(changed, setting(path)+" was set to "+strings.TrimSpace(string(text)))
		}
	}
	return changed
}

// restore undoes what the first berth did, unless somebody else seems to need it: another berth, and for forwarding also any other bridge,
// tunnel or virtual machine's interface.
func (s settings) restore() error {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("cannot list interfaces: %w", err)
	}
	if err := s.settings6.restore(links); err != nil {
		return err
	}
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return berthBridge.MatchString(l.Attrs().Name) }) {
		return nil
	}
	if s.RedirectsWereOn {
		if err := set(redirectsPath, "1"); err != nil {
			return err
		}
	}
	needed := slices.ContainsFunc(links, mayForward)
	if !s.ForwardingWasOff || needed {
		return nil
	}
	return set(forwardingPath, "0")
}

// mayForward says whether packets may be forwarded to or from this interface, and not to the machine alone.
func mayForward(l netlink.Link) bool {
	return slices.Contains([]string{"bridge", "tun", "tuntap", "wireguard", "vxlan", "ipvlan", "macvlan"}, l.Type())
}

func isOn(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", setting(path), err)
	}
	return strings.TrimSpace(string(text)) != "0", nil
}

func set(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("cannot set %s: %w", setting(path), err)
	}
	return nil
}

// setting is the name that sysctl knows a file by.
func setting(path string) string {
	return strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")
}
