//! The Homebrew formula, evaluated by Ruby with a `Formula` that notes what it is told.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::support::home;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_formula_builds_installs_and_serves_as_the_launchd_agent_does() {
    let home = home();
    let template =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/homebrew/nexudus-proxy.rb.in");
    let formula = fs::read_to_string(template).unwrap();
    let formula = formula.replace("@VERSION@", VERSION).replace("@SHA256_SOURCE@", &"a".repeat(64));
    assert!(!formula.contains('@'), "everything is filled in:\n{formula}");
    let formula = home.write("nexudus-proxy.rb", formula);
    let syntax = Command::new("ruby").arg("-wc").arg(&formula).output().expect("ruby is here");
    assert!(syntax.status.success() && syntax.stderr.is_empty(), "{syntax:?}");
    let evaluation = home.write("evaluate.rb", EVALUATION);

    let output = Command::new("ruby").arg(evaluation).arg(&formula).output().unwrap();

    let noted: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let source = format!("releases/download/v{VERSION}/nexudus-proxy-{VERSION}-source.tar.gz");
    assert!(noted["url"][0].as_str().unwrap().ends_with(&source), "{noted}");
    assert_eq!(noted["version"], json!([VERSION]));
    assert_eq!(noted["sha256"], json!(["a".repeat(64)]));
    assert_eq!(noted["depends_on"], json!([{ "rust": "build" }]));
    assert_eq!(
        noted["ran"],
        json!([
            ["cargo", "install", "--locked", "--root=/keg", "--path=."],
            ["completions", "/keg/bin/nexudus-proxy", "completions"],
            ["popen", "/keg/bin/nexudus-proxy", "man"],
            ["write", "/keg/share/man/man1/nexudus-proxy.1", "the page"],
        ])
    );
    // What launchd/nexudus-proxy.plist says, which has sockets beside it.
    let service = &noted["service"];
    assert_eq!(service["run"], json!([["/opt/bin/nexudus-proxy", "serve"]]));
    assert_eq!(service["keep_alive"], json!([{ "successful_exit": false }]));
    assert_eq!(service["process_type"], json!(["interactive"]));
    assert_eq!(service["error_log_path"], json!(["/var/log/nexudus-proxy.log"]));
    assert_eq!(
        noted["test"],
        json!([
            ["shell", "/keg/bin/nexudus-proxy --version"],
            ["/keg/bin/nexudus-proxy", "config", "check"]
        ])
    );
    // Every command of the formula is one of the program's.
    for line in ["completions bash", "man", "config check", "--version"] {
        assert!(home.run(line).ends_with("=> 0\n"), "{line}");
    }
}

/// Homebrew's words, of which only the arguments are noted.
const EVALUATION: &str = r##"
require "json"
require "pathname"
class Notes
  attr_reader :all
  def initialize
    @all = Hash.new { |all, word| all[word] = [] }
  end
  def method_missing(word, *words, **options)
    words << options unless options.empty?
    @all[word].concat(words)
  end
  def respond_to_missing?(*) = true
  def opt_bin = Pathname.new("/opt/bin")
  def var = Pathname.new("/var")
  def std_service_path_env = "/opt/bin:/usr/bin"
end
class Formula
  WORDS = %i[desc homepage url version sha256 license head depends_on].freeze
  class << self
    def notes = @notes ||= Notes.new
    def service(&block)
      @service = Notes.new.tap { |notes| notes.instance_eval(&block) }
    end
    def noted_service = @service.all
    def test(&block) = @test = block
    def tested = @test
    WORDS.each do |word|
      define_method(word) { |*words, **options| notes.public_send(word, *words, **options) }
    end
  end
  attr_reader :ran
  def initialize = @ran = []
  def bin = Pathname.new("/keg/bin")
  def man1 = Pathname.new("/keg/share/man/man1")
  def version = self.class.notes.all[:version].first
  def std_cargo_args = %w[--locked --root=/keg --path=.]
  def system(*words) = @ran << words.map(&:to_s)
  def generate_completions_from_executable(*words) = @ran << ["completions", *words.map(&:to_s)]
  def shell_output(line)
    @ran << ["shell", line]
    "nexudus-proxy #{version} (0 0)"
  end
  def assert_match(wanted, said) = (raise "#{said} is not #{wanted}" unless said.include?(wanted))
end
$formula = nil
module Utils
  def self.safe_popen_read(*words)
    $formula.ran << ["popen", *words.map(&:to_s)]
    "the page"
  end
end
class Pathname
  def write(text) = $formula.ran << ["write", to_s, text]
end
load ARGV[0]
$formula = NexudusProxy.new
$formula.install
raise "no caveats" unless $formula.caveats.include?("nexudus-proxy login")
ran = $formula.ran.dup
$formula.ran.clear
$formula.instance_eval(&NexudusProxy.tested)
puts JSON.generate(NexudusProxy.notes.all.merge(
  ran: ran, test: $formula.ran, service: NexudusProxy.noted_service
))
"##;
