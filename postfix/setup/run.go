package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/filter/config"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// Options are what the operator says. The zero value of each text stands for what is found in Postfix.
type Options struct {
	PostfixDir      string // "" is Postfix's own
	ConfigFile      string // absolute path of postmend's configuration, there or to be made
	Program         string // absolute path of postmend
	User            string // the account that runs postmend
	Trial           bool   // make no account
	Mode            Mode
	Hostname        string
	Domain          string // signs forwarded mail
	SRSDomain       string
	Selector        string // of new DKIM keys
	TrustedNetworks string // separated by commas
	Milter          string // see Wanted; "" takes Spawned where postmend is not set up yet, unless NoMilter
	NoMilter        bool
	LMTP            string // an address, or Spawned; "" keeps what is there
}

// Setup is what a Postfix and this host have, and what they lack.
type Setup struct {
	// Mode is the one that was chosen, ModeReason says why.
	Mode       Mode
	ModeReason string

	config  *postconf.Config
	domains *Domains
	state   *State
	home    *home
	plan    *Plan
	changes []Step // of Postfix's files
}

// Open reads everything, and changes nothing. An error tells what takes the operator's decision.
func Open(ctx context.Context, o Options) (*Setup, error) {
	c, err := postconf.Open(o.PostfixDir)
	if err != nil {
		return nil, err
	}
	c = withFullName(&o, c)
	s := &Setup{config: c}
	if s.domains, err = ReadDomains(ctx, c); err != nil {
		return nil, err
	}
	if s.state, err = loadState(c); err != nil {
		return nil, err
	}
	if o.Milter == "" && !o.NoMilter && !isSetUp(c, s.state) {
		o.Milter = Spawned
	}
	if s.Mode, s.ModeReason, err = ChooseMode(c, s.domains, o.ConfigFile, o.Mode, o.Milter); err != nil {
		return nil, err
	}
	switch o.LMTP {
	case "":
		if o.LMTP, err = LMTPAddress(c); err != nil {
			return nil, err
		}
	case Spawned:
		o.LMTP = layout.SpawnedLMTP
	}
	if s.home, err = ownFiles(&o, c, s.domains); err != nil {
		return nil, err
	}
	if err = s.home.asks(ctx, c); err != nil {
		return nil, err
	}
	s.plan, err = NewPlan(c, s.domains, Wanted{
		Mode:       s.Mode,
		User:       o.User,
		Program:    o.Program,
		ConfigFile: s.home.configFlag(),
		Listener:   s.home.listener,
		SRSDomain:  strings.ToLower(s.home.config.SRS.Domain),
		Hostname:   s.home.config.Hostname,
		Milter:     o.Milter,
		LMTP:       o.LMTP,
	})
	if err != nil {
		return nil, err
	}
	if err := s.plan.otherNextHop(ctx); err != nil {
		return nil, err
	}
	if err := s.plan.TakesAnySRSAddress(s.domains); err != nil {
		return nil, err
	}
	if s.changes, err = s.plan.Steps(s.state); len(s.changes) > 0 {
		s.home.mode = s.Mode
	}
	return s, err
}

// PrepareSteps make postmend's own files, and have its account use them. Nothing of Postfix's is touched.
func (s *Setup) PrepareSteps() []Step {
	steps := s.home.steps()
	if len(steps)+len(s.changes) == 0 {
		return nil
	}
	check := Step{Why: "test Postfix's configuration before the change",
		Action: s.config.PostfixCommand("check")}
	return append(append([]Step{check}, steps...), s.home.trial(s.config)...)
}

// ChangeSteps change Postfix's files, and let Postfix read them.
func (s *Setup) ChangeSteps() []Step { return thenReload(s.config, s.changes) }

// thenReload puts a check and a reload after changes of Postfix's files.
func thenReload(c *postconf.Config, changes []Step) []Step {
	if len(changes) == 0 {
		return nil
	}
	steps := slices.Concat(changes, linkSteps(c))
	steps = append(steps,
		Step{Why: "test Postfix's configuration after the change", Action: c.PostfixCommand("check")})
	if !c.IsAtRest() {
		reload := Step{Why: "running processes read the new configuration",
			Action: c.PostfixCommand("reload")}
		steps = append(steps, reload)
	}
	return steps
}

// Change carries out the changes of Postfix's files by run, has Postfix answer for them, and goes back if
// anything is wrong. It tells what Postfix was asked.
func (s *Setup) Change(ctx context.Context, run func([]Step) error) (asked string, err error) {
	if err := s.askServe(ctx); err != nil {
		return "", err
	}
	srs, err := s.home.srsAddresses()
	if err != nil {
		return "", err
	}
	snapshot, err := s.plan.takeSnapshot()
	if err != nil {
		return "", err
	}
	started := time.Now()
	proof := s.plan.newProof(ctx, s.domains, srs)
	if err = run(s.ChangeSteps()); err == nil {
		err = s.askSpawned(ctx)
	}
	if err == nil {
		err = proof.confirm(ctx)
	}
	if err == nil {
		return proof.String(), nil
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	back := snapshot.restore()
	if back == nil && s.config.IsRunning() {
		back = s.config.PostfixCommand("reload").Run()
		// What arrived meanwhile would wait for a content filter that is gone.
		if requeueErr := s.config.Requeue(started); requeueErr != nil {
			err = fmt.Errorf("%w. Requeue mail that arrived meanwhile: %s (%w)", err,
				s.config.RequeueCommand(), requeueErr)
		}
	}
	if back != nil {
		return "", fmt.Errorf("%w. The changes could not be reverted: %w. Run postmend setup --undo", err,
			back)
	}
	return "", fmt.Errorf(
		"%w. main.cf and master.cf are restored, and Postfix uses them again; see the mail log at %s",
		err, time.Now().Format("15:04"))
}

// srsAddresses makes the addresses that Postfix is asked about.
func (h *home) srsAddresses() (srsAddresses, error) {
	settings, err := config.Load(h.path)
	if err != nil || settings.SRS.Domain == "" {
		return srsAddresses{}, err
	}
	rewriter, err := settings.SRS.Rewriter(time.Now)
	if err != nil {
		return srsAddresses{}, err
	}
	a := srsAddresses{Original: "postmaster@setup.invalid"}
	if a.Valid, err = rewriter.Forward(a.Original); err != nil {
		return srsAddresses{}, err
	}
	const tag = len("SRS0=")
	forged := []byte(a.Valid)
	for _, letter := range []byte("ABC") { // hashes are compared without case
		if letter|0x20 != forged[tag]|0x20 {
			forged[tag] = letter
			break
		}
	}
	a.Forged = string(forged)
	return a, nil
}

// RequeueCommand is for mail that was in the queue before the change.
func (s *Setup) RequeueCommand() string { return s.config.RequeueCommand().String() }

// IsDone tells whether there is nothing left to do: of postmend's own files, and of Postfix's.
func (s *Setup) IsDone() (own, postfix bool) { return len(s.home.steps()) == 0, len(s.changes) == 0 }

// Notes are what was left out, and what is left to the operator.
func (s *Setup) Notes(withDetails bool) []string {
	notes := slices.Concat(s.plan.Notes, s.home.keyless(s.domains), notRunning(s.config))
	if withDetails {
		notes = append(notes, s.plan.Details...)
	}
	return notes
}

func notRunning(c *postconf.Config) []string {
	if !c.IsAtRest() {
		return nil
	}
	return []string{"Postfix is not running; the configuration takes effect when it starts"}
}

// Undoing is what takes a setup back.
type Undoing struct {
	Dir   string // Postfix's configuration directory
	Steps []Step // nil if nothing was set up
	Notes []string
	Kept  []string // what stays, and where it is
}

// OpenUndo reads what was set up in a configuration directory; "" is Postfix's own. The configuration file
// and the account are postmend's.
func OpenUndo(dir, configFile, account string) (*Undoing, error) {
	c, err := postconf.Open(dir)
	if err != nil {
		return nil, err
	}
	u := &Undoing{Dir: c.Dir}
	state, err := loadState(c)
	if err != nil || state == nil {
		return u, err
	}
	configFile = cmp.Or(state.ConfigFile, configFile)
	steps, notes := state.undo(c)
	u.Steps = append(thenReload(c, steps), forget(c, configFile))
	u.Notes = append(notRunning(c), append(notes,
		"mail in the queue that was on its way to postmend still waits for it; requeue "+
			"it with: "+c.RequeueCommand().String())...)
	u.Kept = kept(configFile, account)
	return u, nil
}

// kept lists postmend's own files and account, which an undoing leaves.
func kept(configFile, account string) []string {
	var lines []string
	if _, err := user.Lookup(account); err == nil {
		lines = append(lines, "account        "+account)
	}
	settings, err := config.Load(configFile)
	if err != nil {
		return lines
	}
	lines = append(lines, "configuration  "+configFile)
	if file := settings.SRS.SecretsFile; file != "" && !isMissing(file) {
		lines = append(lines, "SRS secrets    "+file+", needed for bounces to existing SRS addresses, "+
			"and to set postmend up again")
	}
	if folder, found := strings.CutPrefix(settings.SRS.Store, "dir:"); found {
		lines = append(lines, "stored senders "+folder+", needed for bounces to aliases")
	}
	folders := map[string]int{}
	for _, key := range settings.DKIM.Keys {
		if !isMissing(key.File) {
			folders[filepath.Dir(key.File)]++
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		lines = append(lines, fmt.Sprintf("DKIM keys      %s (%d)", folder, folders[folder]))
	}
	return lines
}
