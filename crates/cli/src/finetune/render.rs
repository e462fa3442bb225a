//! Examples of a file as tokens, some of them answers.

use anyhow::{Context as _, ensure};
use selvedge_tokenizer::Tokenizer;
use selvedge_tokenizer::chat::{self, ChatTemplate, Conversation};
use selvedge_train::chat_data::{ANSWERS, Message, Record};
use selvedge_train::examples::Example;

use crate::published::Published;

/// Writes a conversation as a model's makers did; with `asks`, up to where the next answer begins.
pub(crate) type Template<'a> = dyn Fn(&[Message], bool) -> anyhow::Result<String> + 'a;

/// The tokens of an example.
pub(crate) fn example(
    tokenizer: &Tokenizer,
    template: &Template<'_>,
    record: &Record,
) -> anyhow::Result<Example> {
    let mut example = Example::default();
    match record {
        Record::Chat(messages) => {
            for (text, answer) in parts(template, messages)? {
                example.push(&tokenizer.encode_with_specials(text), answer);
            }
        }
        Record::Completion { prompt, completion } => {
            example.push(tokenizer.prefix(), false);
            example.push(&tokenizer.encode(prompt), false);
            example.push(&tokenizer.encode(completion), true);
            example.push(&[tokenizer.end_of_text()], true);
        }
        Record::Text(text) => {
            example.push(tokenizer.prefix(), false);
            example.push(&tokenizer.encode(text), true);
            example.push(&[tokenizer.end_of_text()], true);
        }
    }
    Ok(example)
}

/// The text of a conversation in parts, each an answer or none. An answer begins where the model is asked for one, and ends
/// with what the template puts behind it.
fn parts(template: &Template<'_>, messages: &[Message]) -> anyhow::Result<Vec<(String, bool)>> {
    let (mut parts, mut written) = (Vec::new(), String::new());
    let mut push = |text: String, answer| {
        let part = text.strip_prefix(&*written).map(str::to_owned);
        let part = part.context(
            "the chat template writes an earlier message otherwise when a later one is added; give conversations of one answer each",
        )?;
        parts.push((part, answer));
        written = text;
        Ok::<_, anyhow::Error>(())
    };
    for (index, message) in messages.iter().enumerate() {
        if message.role == ANSWERS {
            let asked = template(&messages[..index], true)?;
            let answered = template(&messages[..=index], false)?;
            ensure!(
                answered.starts_with(&asked),
                "the chat template writes message {index} otherwise than where it asks for it"
            );
            push(asked, false)?;
            push(answered, true)?;
        }
    }
    Ok(parts)
}

/// The model's own chat template, or ChatML where it has none.
///
/// # Errors
/// If the template cannot be used; without one, if the tokenizer lacks the tokens of ChatML.
pub(crate) fn template(published: &Published) -> anyhow::Result<Box<Template<'static>>> {
    let format = published.chat_format()?;
    let Some(source) = &format.template else { return chatml(&published.tokenizer) };
    let template = ChatTemplate::new(source).context("the model's chat template")?;
    let empty = format.conversation()?;
    Ok(Box::new(move |messages, asks| {
        let messages = messages.iter().map(|of| chat::Message::new(&of.role, &of.content)).collect();
        let conversation = Conversation { messages, add_generation_prompt: asks, ..empty.clone() };
        Ok(template.render(&conversation)?)
    }))
}

/// The markup of ChatML, which many models were trained with.
///
/// # Errors
/// If the tokenizer lacks its tokens.
fn chatml(tokenizer: &Tokenizer) -> anyhow::Result<Box<Template<'static>>> {
    for name in ["<|im_start|>", "<|im_end|>"] {
        ensure!(
            tokenizer.special(name).is_some(),
            "the model has no token {name}, so conversations cannot be written in ChatML; give prompts and completions"
        );
    }
    Ok(Box::new(|messages, asks| {
        let mut text = String::new();
        for Message { role, content } in messages {
            text.push_str(&format!("<|im_start|>{role}\n{content}<|im_end|>\n"));
        }
        if asks {
            text.push_str(&format!("<|im_start|>{ANSWERS}\n"));
        }
        Ok(text)
    }))
}

#[cfg(test)]
mod tests {
    use selvedge_tokenizer::Trainer;

    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    fn plain(messages: &[Message], asks: bool) -> anyhow::Result<String> {
        let mut text: String = messages.iter().map(|of| format!("[{}]{};", of.role, of.content)).collect();
        if asks {
            text.push_str("[assistant]");
        }
        Ok(text)
    }

    #[test]
    fn answers_are_what_the_model_would_write() {
        let messages = [
            message("user", "a"),
            message("assistant", "b"),
            message("user", "c"),
            message("assistant", "d"),
        ];
        let found = parts(&plain, &messages).unwrap();
        let want =
            [("[user]a;[assistant]", false), ("b;", true), ("[user]c;[assistant]", false), ("d;", true)];
        assert!(found.iter().map(|(text, answer)| (text.as_str(), *answer)).eq(want), "{found:?}");
        // What comes after the last answer teaches nothing.
        let more = [&messages[..], &[message("user", "e")]].concat();
        assert_eq!(parts(&plain, &more).unwrap(), found);
        // One that leaves the answers before the last question short would have taught them so.
        let shortens = |messages: &[Message], asks: bool| {
            let last = messages.iter().rposition(|of| of.role == "user").unwrap_or(0);
            let short = messages.iter().enumerate().map(|(index, of)| match of.role.as_str() {
                "assistant" if index < last => message("assistant", ""),
                _ => message(&of.role, &of.content),
            });
            plain(&short.collect::<Vec<_>>(), asks)
        };
        assert!(parts(&shortens, &messages).is_err());
        assert_eq!(parts(&shortens, &messages[..2]).unwrap().len(), 2);
        let odd = |messages: &[Message], asks: bool| Ok(format!("{}{asks}", messages.len()));
        assert!(parts(&odd, &messages).is_err());
    }

    #[test]
    fn completions_end_and_their_prompts_do_not_count() {
        let tokenizer = Trainer { vocab_size: 260, ..Trainer::default() }.train(["abc"], |_| {}).unwrap();
        let of = |record| example(&tokenizer, &plain, &record).unwrap();
        let completion = of(Record::Completion { prompt: "ab".into(), completion: "c".into() });
        assert_eq!(completion.answer, [false, false, true, true]);
        assert_eq!(completion.tokens.last(), Some(&tokenizer.end_of_text()));
        assert_eq!(of(Record::Text("abc".into())).tokens, completion.tokens);
        assert!(chatml(&tokenizer).is_err());
    }
}
