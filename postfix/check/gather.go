package check

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"postmend/postfix/access"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// gather reads a Postfix configuration, and what it points at; dir "" is Postfix's own. It changes nothing.
func gather(ctx context.Context, dir string, ours postmend) (*host, error) {
	config, err := postconf.Open(dir)
	if err != nil {
		return nil, err
	}
	expanded, err := config.Expanded()
	if err != nil {
		return nil, err
	}
	h := &host{postmend: ours, config: config, expanded: expanded, instances: config.Others(),
		gateway: containerGateway()}
	h.findFilter()
	h.findListener()
	h.findTables()
	h.account = h.findAccount()
	h.askStatusFilter(ctx)
	h.askHeaderChecks(ctx)
	h.askMilter()
	h.actions = setup.FilterActions(ctx, expanded)
	h.askLMTP(ctx)
	future := config
	if ours.Hostname != "" && !setup.IsFullName(strings.ToLower(h.Main("myhostname"))) {
		// As setup --apply will set it, or the mend of a rule.
		future = config.With(postconf.Parameter{Name: "myhostname", Value: ours.Hostname})
	}
	if h.domains, err = setup.ReadDomains(ctx, future); err != nil {
		return nil, err
	}
	if h.SRSDomain != "" {
		h.srsClass = h.domains.ClassAbove(h.SRSDomain)
	}
	h.planSetup()
	h.spool, h.spoolFree = access.LookAt(ours.SpoolDir), freeSpace(ours.SpoolDir)
	if dir != "" && strings.HasPrefix(ours.Target, "sendmail:") {
		h.system = readSystem(config.Dir)
	}
	return h, nil
}

// keyable are the domains that can have a DKIM key and should, as far as Postfix tells them, and those that
// can have none; the tables may have more.
func (h *host) keyable() (hosted, private, tables []string) {
	isOther := func(name string) bool { return name == h.SRSDomain }
	return slices.DeleteFunc(h.domains.Signable(), isOther), slices.DeleteFunc(h.domains.Private(), isOther),
		h.domains.Unlisted
}

// findFilter takes the service that content_filter or default_transport names, if it is ours, or else the
// first that is.
func (h *host) findFilter() {
	for _, s := range h.servicesOf("pipe") {
		command := parsePipe(*s)
		if !command.isOurs() {
			continue
		}
		isNamed := s.Name == transport(h.Main("content_filter")) ||
			s.Name == transport(h.Main("default_transport"))
		if h.filter == nil || isNamed {
			h.filter, h.command = s, command
		}
	}
	h.findLMTP()
	if h.command == nil {
		return
	}
	h.program = access.LookAt(h.command.argv[0])
	value, _ := h.command.attribute("user")
	name, group, _ := strings.Cut(value, ":")
	h.user, h.userErr = access.LookupUser(name, group)
}

func (h *host) findListener() {
	kind, address, here := listenerAddress(h.Target)
	for _, s := range h.servicesOf("smtpd") {
		switch {
		case !here || !h.listensAt(s, kind, address):
		case h.isPublic(s):
			h.public = s
		default:
			h.listener = s
		}
	}
}

func (h *host) findTables() {
	for _, s := range h.servicesOf("spawn") {
		command := parsePipe(*s)
		at := slices.Index(command.argv, "lookup") + 1
		if at == 0 || at >= len(command.argv) || !layout.IsProgram(command.argv[0]) {
			continue
		}
		t := &table{Service: s, command: command, program: access.LookAt(command.argv[0]),
			direction: command.argv[at],
			protocol:  cmp.Or(command.flag("--protocol"), "tcp")}
		value, _ := command.attribute("user")
		name, group, _ := strings.Cut(value, ":")
		t.user, t.userErr = access.LookupUser(name, group)
		h.tables = append(h.tables, t)
	}
}

// askStatusFilter has Postfix itself tell what the filter makes of status lines.
func (h *host) askStatusFilter(ctx context.Context) {
	if h.command == nil || h.value(h.filter, "pipe_delivery_status_filter") == "" {
		return
	}
	var lines []string
	for _, row := range meant {
		lines = append(lines, row.status)
	}
	h.statuses, h.statusErr = h.config.Lookups(ctx, h.value(h.filter, "pipe_delivery_status_filter"), lines)
	for _, line := range lines {
		if h.statuses[line] == "" {
			h.statuses[line] = line // it stays as it is
		}
	}
}

// planSetup asks setup what it would do here.
func (h *host) planSetup() {
	h.mode = setup.ContentFilter
	if mode, _, err := setup.ChooseMode(h.config, h.domains, h.ConfigFile, "", setup.Spawned); err == nil &&
		!h.isContentFilter() {
		h.mode = mode
	}
	if h.isTransport() {
		h.mode = setup.Transport
	}
	wanted := setup.Wanted{Mode: h.mode, User: h.filterUser(), Program: h.programPath(),
		ConfigFile: h.configFlag(),
		Listener:   h.freeListener(), SRSDomain: h.SRSDomain, LMTP: h.lmtpAddress}
	if kind, address, here := listenerAddress(h.Target); here && kind == "inet" && h.public == nil {
		wanted.Listener = address
	}
	h.wanted = wanted
	if plan, err := setup.NewPlan(h.config, h.domains, wanted); err == nil {
		h.plan = plan
	}
}

// freeListener is the first address from setup's on that no instance names, and where nothing listens.
func (h *host) freeListener() string {
	first, _ := strconv.Atoi(layout.ListenerPort())
	for port := first; ; port++ {
		isTaken := func(c *postconf.Config) bool {
			_, found := c.AtPort(strconv.Itoa(port))
			return found
		}
		if !isTaken(h.config) && !slices.ContainsFunc(h.instances, isTaken) &&
			len(listeningAt("127.0.0.1:"+strconv.Itoa(port))) == 0 {
			return "127.0.0.1:" + strconv.Itoa(port)
		}
	}
}

// freeSpace is what an ordinary user can still write to a folder.
func freeSpace(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return -1
	}
	return int64(fs.Bavail) * fs.Bsize
}

// readSystem reads what sendmail(1) asks Postfix's own main.cf; nil if that is the configuration in dir
// itself.
func readSystem(dir string) *system {
	own, err := postconf.Open("")
	if err != nil || filepath.Clean(own.Dir) == filepath.Clean(dir) {
		return nil
	}
	return &system{own.Dir, own.Get("alternate_config_directories"), own.Get("multi_instance_directories")}
}
