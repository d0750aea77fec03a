package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"postmend/filter/config"
	"postmend/postfix/access"
	"postmend/srs/store"
)

// senderStore is what was found out about the store of senders that do not fit into SRS addresses.
type senderStore struct {
	at     store.Location
	place  access.File // the folder, or the Unix-domain socket; links are not followed
	isLink bool
	alien  bool // the folder has other things in it than days
	health store.Health
}

// storeRules judge the store of senders.
var storeRules = []rule[*own]{
	{Name: "srs-store", Severity: Error, OK: "the store of senders works",
		Why: "mail whose sender does not fit into an SRS address is deferred for store_patience, and " +
			"bounces to it are deferred", Judge: judgeStore},
	{Name: "srs-store-keeps", Severity: Warning,
		Why: "bounces to aliases that are in use would be rejected", Judge: judgeKeeping},
	{Name: "srs-store-secrets", Severity: Warning,
		Why:   "a bounce that comes to this host for an alias of that host is rejected as forged",
		Judge: judgeForeign},
	{Name: "srs-store-age", Severity: Note,
		Why:   "they take space; some are removed whenever mail is forwarded",
		Judge: judgeExpired},
}

// gatherStore looks at a configuration's store; nil if there is none.
func gatherStore(settings *config.Config) *senderStore {
	if settings.SRS.Store == "" {
		return nil
	}
	s := &senderStore{}
	s.at, _ = store.Parse(settings.SRS.Store) // filter.New had it, too
	if path := s.path(); path != "" {
		s.place = access.LookAt(path)
		info, err := os.Lstat(path)
		s.isLink = err == nil && info.Mode()&fs.ModeSymlink != 0
	}
	if s.at.Dir != "" {
		names, _ := os.ReadDir(s.at.Dir)
		for _, entry := range names {
			_, err := time.Parse(time.DateOnly, entry.Name())
			s.alien = s.alien || err != nil
		}
	}
	rewriter, _ := settings.SRS.Rewriter(time.Now) // judgeSecrets tells why there is none
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Duration(settings.SRS.StoreTimeout))
	defer cancel()
	s.health = store.Inspect(ctx, settings.SRS.StoreOptions(time.Now), rewriter)
	return s
}

// path is where the store is on this host; "" if it is reached by TCP.
func (s *senderStore) path() string {
	switch {
	case s.at.Dir != "":
		return s.at.Dir
	case s.at.Network == "unix":
		return s.at.Address
	}
	return ""
}

func judgeStore(o *own) []fault {
	s := o.store
	switch {
	case s == nil:
		return o.storeMissing()
	case !o.isRoot && errors.Is(s.health.Err, fs.ErrPermission):
		return []fault{{What: s.path() + " is not judged: you may not use it", Severity: Note}}
	case s.at.Dir != "":
		faults := o.judgeStoreAccess()
		switch h := s.health; {
		case h.Closed != nil:
			faults = append(faults, fault{What: s.at.Dir + " takes no senders: " + h.Closed.Error()})
		case h.Err != nil && faults == nil:
			faults = one(h.Err.Error(), "")
		}
		return faults
	}
	return o.judgeStoreServer()
}

// storeMissing is for a configuration without a store.
func (o *own) storeMissing() []fault {
	if o.config.SRS.Domain == "" {
		return unjudged
	}
	return []fault{{What: "[srs] store is not set: long senders, which do not fit into an SRS address, are " +
		"not rewritten; " + o.unfit.String(),
		Severity: Note, Why: "these are most senders of bulk mail: SPF fails for them at the next hop, and " +
			"receivers that enforce -all reject the mail. See docs/configuration.md"}}
}

// judgeStoreAccess judges whether the account, and no other, can use the folder.
func (o *own) judgeStoreAccess() []fault {
	f, account := o.store.place, o.account
	mend := func(words ...string) string {
		if o.store.alien { // somebody else's folder, which is not to be given away
			return ""
		}
		return account.First(shell(words...))
	}
	hint := ""
	if o.store.alien {
		hint = "; it has other files in it: name a folder of its own"
	}
	switch {
	case o.store.isLink:
		return one(f.Path+" is a symbolic link: [srs] store has to name the folder itself", "")
	case f.IsMissing():
		return one(f.Path+" does not exist",
			account.First(shell("install", "-d", "-m", "0700", "-o", account.Name, f.Path)))
	case f.Err != nil || !f.Mode.IsDir():
		return one(f.Path+" is not a folder", "")
	case !account.IsMissing && f.UID != account.UID:
		return one(f.String()+" does not belong to "+account.Name+hint,
			mend("chown", "-R", account.Name, f.Path))
	case f.Mode.Perm()&0o077 != 0 || f.Mode.Perm()&0o700 != 0o700:
		return one(f.String()+" is accessible to other accounts"+hint, mend("chmod", "0700", f.Path))
	}
	if barrier := f.Barrier(account, access.MayWrite|access.MayExecute); barrier != nil {
		return one(fmt.Sprintf("%s cannot use %s, %s", account.Name, f.Path, f.Because(barrier)),
			f.LetIn(account))
	}
	if name := o.store.health.Unusable; name != "" {
		command := mend("chown", "-R", account.Name, f.Path)
		if command != "" {
			command += " && " + shell("chmod", "-R", "u=rwX,go=", f.Path)
		}
		return one(fmt.Sprintf("%s does not belong to %s, or is closed to it%s",
			filepath.Join(f.Path, name), account.Name, hint), command)
	}
	return nil
}

func (o *own) judgeStoreServer() []fault {
	h := o.store.health
	if o.store.at.Network == "unix" && o.store.place.Err == nil {
		if barrier := o.store.place.Barrier(o.account, access.MayWrite); barrier != nil {
			return one(fmt.Sprintf("%s cannot use %s, %s", o.account.Name, o.store.place.Path,
				o.store.place.Because(barrier)), "")
		}
	}
	switch {
	case h.Err != nil:
		return one("the store of senders cannot be used: "+h.Err.Error(), "")
	case h.Replica:
		return one(o.store.at.Address+
			" is a replica, which accepts no entries: name the primary in [srs] store", "")
	case h.Closed != nil:
		return one("the store takes no senders: "+h.Closed.Error(), "")
	}
	return nil
}

func judgeKeeping(o *own) []fault {
	if o.store == nil || o.store.health.Err != nil {
		return nil
	}
	h, name := o.store.health, o.store.at.Address
	var faults []fault
	if h.Volatile {
		faults = append(faults,
			fault{What: name + " loses its entries at a restart: set appendonly yes in its configuration"})
	}
	if h.Evicts != "" {
		faults = append(faults,
			fault{What: fmt.Sprintf("%s removes entries when its memory is full (maxmemory-policy "+
				"%s): set maxmemory-policy noeviction in its configuration", name, h.Evicts)})
	}
	const tolerated = time.Hour
	if h.ClockOff.Abs() > tolerated {
		faults = append(faults,
			fault{What: fmt.Sprintf("the clock of %s differs from this "+
				"host's by %v", name, h.ClockOff.Abs())})
	}
	if h.Hidden != nil && len(faults) == 0 {
		faults = append(faults,
			fault{What: name + " does not tell whether it keeps entries: " + h.Hidden.Error(),
				Severity: Note})
	}
	return faults
}

func judgeForeign(o *own) []fault {
	if o.store == nil || o.store.health.Foreign == 0 {
		return nil
	}
	return []fault{{What: fmt.Sprintf("stored senders that come from a host with other secrets: %d of "+
		"%d; all hosts that share [srs] store and domain need the same secrets_file",
		o.store.health.Foreign, o.store.health.Looked)}}
}

func judgeExpired(o *own) []fault {
	const usual = 2 // days that the next messages remove
	if o.store == nil || o.store.health.Expired <= usual {
		return nil
	}
	return []fault{{What: fmt.Sprintf("%s has senders of %d days whose aliases have expired", o.store.at.Dir,
		o.store.health.Expired), Mend: shell(o.Program, "srs", "prune", "-c", o.ConfigFile)}}
}
