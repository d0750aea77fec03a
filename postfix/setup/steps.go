package setup

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"postmend/postfix/postconf"
	"postmend/postfix/wholefile"
)

// Step is one thing to do.
type Step struct {
	Why    string
	Action Action
}

// Action does something; its String is what a person would type into a shell for it.
type Action interface {
	fmt.Stringer
	Run() error
}

// Steps carry a plan out: files and services, which do nothing by themselves, and then main.cf, all at once.
func (p *Plan) Steps(state *State) ([]Step, error) {
	var steps []Step
	for _, file := range p.Files {
		if file.differs() {
			steps = append(steps, Step{Why: file.Why, Action: file})
		}
	}
	var parameters, services []Change
	for _, change := range p.Changes {
		if change.Service {
			services = append(services, change)
		} else {
			parameters = append(parameters, change)
		}
	}
	steps = append(steps, serviceSteps(p.config, services)...)
	steps = append(steps, parameterSteps(p.config, parameters)...)
	if len(steps) == 0 {
		return nil, nil
	}
	save, err := state.with(p).save(p.config)
	before := []Step{save}
	if state == nil {
		before = append(backupSteps(p.config), save)
	}
	if state == nil || isUntouched(p.config) {
		steps = append(steps,
			Step{"to tell later whether somebody else has changed them", sums{p.config.Dir}})
	}
	return append(before, steps...), err
}

func serviceSteps(c *postconf.Config, changes []Change) []Step {
	var steps []Step
	for _, change := range changes {
		cmd := c.UnsetServiceCommand(change.Name)
		if change.Now != nil {
			cmd = c.SetServiceCommand(change.Name, *change.Now)
		}
		steps = append(steps, Step{change.Why, cmd})
	}
	return steps
}

// parameterSteps are at most two: postconf(1) replaces main.cf by rename, so that what stands in one command
// changes at once.
func parameterSteps(c *postconf.Config, changes []Change) []Step {
	var set []postconf.Parameter
	var unset, setWhy, unsetWhy []string
	for _, change := range changes {
		why := change.Name + ": " + change.Why
		if change.Now == nil {
			unset, unsetWhy = append(unset, change.Name), append(unsetWhy, why)
		} else {
			set = append(set, postconf.Parameter{Name: change.Name, Value: *change.Now})
			setWhy = append(setWhy, why)
		}
	}
	var steps []Step
	if unset != nil {
		steps = append(steps, Step{strings.Join(unsetWhy, "\n"), c.UnsetCommand(unset...)})
	}
	if set != nil {
		steps = append(steps, Step{strings.Join(setWhy, "\n"), c.SetCommand(set...)})
	}
	return steps
}

// File is a file to be written.
type File struct {
	Path    string      `json:"path"`
	Content string      `json:"content"`
	Mode    os.FileMode `json:"mode"`
	Why     string      `json:"-"`
	// Owner is an account's name; "" is whoever runs setup.
	Owner string `json:"-"`
	// Generate gives a content that is not to be known before, a secret; ByHand is the command that makes
	// such a file.
	Generate func() ([]byte, error) `json:"-"`
	ByHand   string                 `json:"-"`
}

func (f File) differs() bool {
	text, err := os.ReadFile(f.Path)
	return err != nil || string(text) != f.Content
}

// String implements Action.
func (f File) String() string {
	if f.Generate != nil {
		return f.ByHand
	}
	end := "END"
	for strings.Contains(f.Content, end) {
		end += "_"
	}
	return fmt.Sprintf("install -m %04o /dev/stdin %s <<'%s'\n%s%s", f.Mode, postconf.Command{f.Path}, end,
		f.Content, end)
}

// Run writes the file.
func (f File) Run() error {
	content := []byte(f.Content)
	if f.Generate != nil {
		var err error
		if content, err = f.Generate(); err != nil {
			return err
		}
	}
	options := wholefile.Options{Mode: f.Mode}
	if f.Owner != "" {
		account, err := user.Lookup(f.Owner)
		if err != nil {
			return err
		}
		uid, err := strconv.Atoi(account.Uid)
		if err != nil {
			return err
		}
		options.Owner = &[2]int{uid, -1}
	}
	return wholefile.Write(f.Path, options, wholefile.Content(content))
}

// asUser runs a command with the rights of an account as pipe(8) and spawn(8) give them: with one group,
// whatever others it is in.
type asUser struct {
	User, Group string
	Command     postconf.Command
}

// String implements Action.
func (a asUser) String() string { return a.command().String() }

// Run implements Action. Its error says what the program said, not how it was run.
func (a asUser) Run() error {
	cmd := a.command()
	out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	said := strings.TrimPrefix(lines[len(lines)-1], "postmend: ")
	return fmt.Errorf("as the account %s: %s", a.User, cmp.Or(said, err.Error()))
}

func (a asUser) command() postconf.Command {
	return append(postconf.Command{"runuser", "-u", a.User, "-g", a.Group, "--"}, a.Command...)
}
