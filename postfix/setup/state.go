package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postmend/postfix/postconf"
)

// State is what was there before, and what took its place. It waits for the undoing in a file beside main.cf.
type State struct {
	Mode Mode `json:"mode"`
	// ConfigFile is postmend's configuration for this Postfix; "" is the default one.
	ConfigFile string `json:"config_file,omitempty"`

	Changes []Change `json:"changes"`
	Files   []File   `json:"files,omitempty"`
}

func statePath(c *postconf.Config) string { return filepath.Join(c.Dir, "postmend-setup.json") }

// loadState gives nil if nothing was set up.
func loadState(c *postconf.Config) (*State, error) {
	text, err := os.ReadFile(statePath(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; only root can see what is set up", err)
	} else if err != nil {
		return nil, err
	}
	s := &State{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", statePath(c), err)
	}
	return s, nil
}

// with gives the state after a plan: what was there before the first one stays known.
func (s *State) with(p *Plan) *State {
	next := &State{Mode: p.wanted.Mode, ConfigFile: p.wanted.ConfigFile}
	if s != nil {
		next.Changes = append(next.Changes, s.Changes...)
		next.Files = append(next.Files, s.Files...)
	}
	for _, change := range p.Changes {
		if known := next.change(change.Service, change.Name); known != nil {
			known.Now = change.Now
		} else if !change.ours {
			next.Changes = append(next.Changes, change)
		}
	}
	for _, file := range p.Files {
		if file.differs() {
			next.Files = slices.DeleteFunc(next.Files, func(known File) bool {
				return known.Path == file.Path
			})
			next.Files = append(next.Files, file)
		}
	}
	return next
}

func (s *State) change(service bool, name string) *Change {
	for i := range s.Changes {
		if s.Changes[i].Service == service && s.Changes[i].Name == name {
			return &s.Changes[i]
		}
	}
	return nil
}

// save is the step that writes the state, before anything else in Postfix's directory changes.
func (s *State) save(c *postconf.Config) (Step, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	return Step{
		Why:    "what was there before, for postmend setup --undo",
		Action: File{Path: statePath(c), Content: string(text) + "\n", Mode: 0o600},
	}, err
}

// undo gives the steps that restore what was there, and notes about what was changed by others since, which
// stays.
func (s *State) undo(c *postconf.Config) (steps []Step, notes []string) {
	if isUntouched(c) {
		steps = restoreSteps(c)
	}
	if steps == nil {
		steps, notes = s.undoChanges(c)
	}
	for _, file := range s.Files {
		if !file.differs() {
			steps = append(steps,
				Step{Why: "written by postmend setup", Action: postconf.Command{"rm", "-f", file.Path}})
		}
	}
	return steps, notes
}

// undoChanges takes back each parameter and service, because others have changed main.cf or master.cf, too.
func (s *State) undoChanges(c *postconf.Config) (steps []Step, notes []string) {
	var parameters, services []Change
	for _, change := range s.Changes {
		current := currentValue(c, change)
		undo := Change{Service: change.Service, Name: change.Name, Was: current, Now: change.Was,
			Why: "as it was"}
		switch {
		case same(current, change.Was):
			continue
		case same(current, change.Now):
		case isAddedService(c, change):
			undo.Now, undo.Why = nil, "setup added it"
			notes = append(notes, fmt.Sprintf("%s was changed since setup, and is removed, too: %s",
				change.Name, *current))
		default:
			rest, found := "", false
			if current != nil && change.Now != nil && !change.Service {
				rest, found = withoutOwn(change.Name, *current, *change.Now)
			}
			if !found {
				notes = append(notes, fmt.Sprintf("%s was changed since postmend set it, and stays as it "+
					"is; it was %s", change.Name, shown(change.Was)))
				continue
			}
			if undo.Now = &rest; rest == "" && change.Was == nil {
				undo.Now = nil
			}
			undo.Why = "it was changed since: only what is postmend's goes"
		}
		if change.Service {
			services = append(services, undo)
		} else {
			parameters = append(parameters, undo)
		}
	}
	for _, s := range c.Services() {
		isKnown := slices.ContainsFunc(services, func(change Change) bool { return change.Name == s.ID() })
		if isOurListener(s) && !isKnown {
			line := s.Line
			services = append(services, Change{Service: true, Name: s.ID(), Was: &line, Why: "postmend's " +
				"listener, at another port than setup gave it"})
		}
	}
	more, options := strays(c, parameters, services)
	// main.cf first: nothing may name a service that is gone.
	steps = append(parameterSteps(c, append(parameters, more...)), options...)
	return append(steps, serviceSteps(c, services)...), notes
}

// isAddedService tells whether a service that setup added is still postmend's, however its entry was changed:
// nothing leads to it after the undoing, and the package is not removed while master.cf names the program.
func isAddedService(c *postconf.Config, change Change) bool {
	service, found := c.Service(change.Name)
	return change.Service && change.Was == nil && found &&
		(strings.HasPrefix(change.Name, "postmend") || isOurListener(service))
}

// forget is the last step of an undoing.
func forget(c *postconf.Config, configFile string) Step {
	files := append(undoFiles(c), modeFile(configFile))
	return Step{Why: "there is nothing left to undo", Action: append(postconf.Command{"rm", "-f"}, files...)}
}

func currentValue(c *postconf.Config, change Change) *string {
	if change.Service {
		if service, found := c.Service(change.Name); found {
			return &service.Line
		}
		return nil
	}
	if !c.IsSet(change.Name) {
		return nil
	}
	value := c.Get(change.Name)
	return &value
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameWords(*a, *b)
}

func shown(value *string) string {
	if value == nil {
		return "not set"
	}
	return fmt.Sprintf("%q", *value)
}
