// Package sbom tells what a build of postmend is made of, from what Go writes into each program, as
// `go version -m` prints it.
package sbom

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"time"
)

// Component is a part of the program that others wrote.
type Component struct {
	Name, Version string
	License       string // an SPDX expression; NOASSERTION if it is not known
	Sum           string // the module's hash in go.sum
}

// Components are Go's own library, the modules, and the data in the program.
func Components(info *debug.BuildInfo) []Component {
	licenses := map[string]string{
		"github.com/BurntSushi/toml":                    "MIT",
		"github.com/emersion/go-sasl":                   "MIT",
		"github.com/emersion/go-smtp":                   "MIT",
		"github.com/landlock-lsm/go-landlock":           "MIT",
		"github.com/spf13/cobra":                        "Apache-2.0",
		"github.com/spf13/pflag":                        "BSD-3-Clause",
		"golang.org/x/net":                              "BSD-3-Clause",
		"golang.org/x/sys":                              "BSD-3-Clause",
		"golang.org/x/text":                             "BSD-3-Clause",
		"kernel.org/pub/linux/libs/security/libcap/psx": "BSD-3-Clause OR GPL-2.0-only",
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	list := []Component{{Name: "std", Version: goVersion, License: "BSD-3-Clause"}}
	suffixes := Component{Name: "publicsuffix.org/list", License: "MPL-2.0"}
	for _, module := range info.Deps {
		license, known := licenses[module.Path]
		if !known {
			license = "NOASSERTION"
		}
		list = append(list, Component{module.Path, module.Version, license, module.Sum})
		if module.Path == "golang.org/x/net" { // filter/domain/publicsuffix has its list
			suffixes.Version = "of x/net " + module.Version
		}
	}
	return append(list, suffixes)
}

// What SPDX 2.3 has, as far as we use it.

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type pack struct {
	ID               string      `json:"SPDXID"`
	Name             string      `json:"name"`
	Version          string      `json:"versionInfo"`
	Download         string      `json:"downloadLocation"`
	FilesAnalyzed    bool        `json:"filesAnalyzed"`
	LicenseConcluded string      `json:"licenseConcluded"`
	LicenseDeclared  string      `json:"licenseDeclared"`
	Copyright        string      `json:"copyrightText"`
	Purpose          string      `json:"primaryPackagePurpose"`
	Source           string      `json:"sourceInfo,omitempty"`
	References       []reference `json:"externalRefs,omitempty"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdx struct {
	Version   string         `json:"spdxVersion"`
	License   string         `json:"dataLicense"`
	ID        string         `json:"SPDXID"`
	Name      string         `json:"name"`
	Namespace string         `json:"documentNamespace"`
	Creation  creation       `json:"creationInfo"`
	Packages  []pack         `json:"packages"`
	Relations []relationship `json:"relationships"`
}

// Document makes an SPDX 2.3 document in JSON. Namespace is a URI that no other document has.
func Document(info *debug.BuildInfo, version, namespace string, created time.Time) ([]byte, error) {
	const none, document, program = "NOASSERTION", "SPDXRef-DOCUMENT", "SPDXRef-postmend"
	packages := []pack{{ID: program, Name: "postmend", Version: version, Download: none,
		LicenseConcluded: "MIT", LicenseDeclared: "MIT", Copyright: none, Purpose: "APPLICATION"}}
	relations := []relationship{{document, "DESCRIBES", program}}
	for _, c := range Components(info) {
		id := "SPDXRef-" + strings.NewReplacer("/", "-", "_", "-").Replace(c.Name)
		p := pack{ID: id, Name: c.Name, Version: c.Version, Download: none,
			LicenseConcluded: c.License, LicenseDeclared: c.License, Copyright: none, Purpose: "LIBRARY"}
		if c.Sum != "" {
			p.Source = "go.sum: " + c.Sum
		}
		if c.Name == "std" || c.Sum != "" {
			locator := "pkg:golang/" + strings.ToLower(c.Name) + "@" + c.Version
			p.References = []reference{{"PACKAGE-MANAGER", "purl", locator}}
		}
		packages = append(packages, p)
		relations = append(relations, relationship{program, "CONTAINS", p.ID})
	}
	tool := creation{created.UTC().Format(time.RFC3339), []string{"Tool: postmend-make-sbom"}}
	return json.MarshalIndent(spdx{"SPDX-2.3", "CC0-1.0", document, "postmend " + version, namespace, tool,
		packages, relations}, "", "  ")
}
