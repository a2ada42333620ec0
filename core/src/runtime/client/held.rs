//! What a binding into another language holds: it may be held by any thread, for as long as it
//! likes, and borrows nothing. Broken, this crate does not compile.

use super::{
    BuildFault, Client, ClientBuilder, ClientEvents, ConnectError, Connected, HandoverKey, Profile,
    Prompt, PromptFailed, ResumeError, Resumed, SaveError, SavedSession, SignOutError,
};
use crate::client::{AttemptFailure, AuthChallenge, EnrolRequest, ErrorKind, Event, Phase};
use crate::client::{Response, SessionEnd, Traffic};

const fn is_held<T: Send + Sync + 'static>() {}
const fn is_sent<T: Send + 'static + ?Sized>() {}

const _: () = {
    is_held::<Client>();
    is_held::<ClientEvents>();
    is_held::<Resumed>();
    is_held::<Profile>();
    is_held::<Connected>();
    is_held::<HandoverKey>();
    is_held::<SavedSession>();
    is_held::<AuthChallenge>();
    is_held::<EnrolRequest>();
    is_held::<Event>();
    is_held::<Phase>();
    is_held::<Response>();
    is_held::<SessionEnd>();
    is_held::<Traffic>();
    is_held::<ErrorKind>();
    is_held::<AttemptFailure>();
    is_held::<BuildFault>();
    is_held::<ConnectError>();
    is_held::<PromptFailed>();
    is_held::<ResumeError>();
    is_held::<SaveError>();
    is_held::<SignOutError>();
    is_held::<ClientBuilder>();
    // A prompt is asked by one call at a time.
    is_sent::<dyn Prompt>();
};

#[cfg(feature = "gate")]
const _: () = {
    use crate::factor::{
        OwnedAttemptContext, OwnedEnrolContext, OwnedFactor, OwnedVerifierContext,
    };
    use crate::runtime::{
        ChangeFault, Events, Gate, GateConfig, RevokeError, SessionView, StartFault,
    };

    is_held::<Gate>();
    is_held::<SessionView>();
    is_held::<ChangeFault>();
    is_held::<RevokeError>();
    is_held::<StartFault>();
    is_sent::<Events>();
    is_sent::<GateConfig>();
    is_held::<OwnedVerifierContext>();
    is_held::<OwnedEnrolContext>();
    is_held::<OwnedAttemptContext>();
    is_held::<OwnedFactor>();
};

/// A call's future goes to the thread of a runtime.
const fn is_future<F: Future + Send>(_: &F) {}

/// Never called: it is enough that it compiles.
#[expect(dead_code, reason = "its types are checked, and nothing else")]
fn futures_are_sent(client: &Client, key: &HandoverKey, prompt: &mut dyn Prompt) {
    is_future(&client.next_event());
    is_future(&client.save_session(key));
    is_future(&client.sign_out());
    is_future(&client.close());
    is_future(&client.connect(prompt));
}
