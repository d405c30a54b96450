"""Texts and chunking settings for which the chunks of real Elasticsearch nodes are recorded."""

from typing import Any

SETTINGS: tuple[dict[str, Any], ...] = (
    {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 0},
    {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1},
    {"strategy": "sentence", "max_chunk_size": 41, "sentence_overlap": 1},
    {"strategy": "word", "max_chunk_size": 10, "overlap": 1},
    {"strategy": "word", "max_chunk_size": 10, "overlap": 5},
    {"strategy": "word", "max_chunk_size": 13, "overlap": 4},
    {"strategy": "recursive", "max_chunk_size": 10, "separator_group": "plaintext"},
    {"strategy": "recursive", "max_chunk_size": 15, "separator_group": "markdown"},
    {"strategy": "recursive", "max_chunk_size": 12, "separators": [r"(?=\p{Lu})", r"[;,]\s", r"\w+\W+"]},
    {"strategy": "none"},
)

_PROSE = (
    "The harbour wakes before the town does. Nets are mended on the quay, and gulls argue over what the night boats "
    "left behind. By six the first ferry is in! Who would have thought that a place this small could be so loud? "
    "Later, when the tide has turned and the market stalls are folded away, only the bell buoy can be heard, "
    "ringing its slow, uneven note across the water. Nobody hurries. An old dog sleeps in the middle of the road "
    "and the one bus of the day drives carefully around it."
)
_LONG_SENTENCE = (
    "Because the lighthouse keeper had promised his sister that he would write every week and because the supply boat "
    "came only when the swell allowed it he kept a notebook in which each entry was a letter that began with the "
    "weather and went on through birds ships wrecks and small repairs until the lamp had to be lit again and the page "
    "was left open on the table for whatever the night would bring to the rock and to the man who lived upon it"
)

TEXTS: tuple[str, ...] = (
    # --- plain prose, long sentences, exact fits
    _PROSE,
    _LONG_SENTENCE,
    _LONG_SENTENCE + ". Short one. " + _LONG_SENTENCE + ".",
    "One. Two. " + _LONG_SENTENCE + ". Three. Four. Five.",
    " ".join(f"w{n}" for n in range(1, 21)) + ".",
    " ".join(f"w{n}" for n in range(1, 21)) + ". Next one here.",
    " ".join(f"w{n}" for n in range(1, 42)) + ".",
    ". ".join(" ".join(f"S{n}w{m}" for m in range(1, n + 1)) for n in range(1, 15)) + ".",
    ". ".join(" ".join(f"S{n}w{m}" for m in range(1, n + 1)) for n in range(18, 0, -1)) + "...",
    ". ".join(" ".join(f"A{n}b{m}" for m in range(1, 12)) for n in range(1, 8)) + "!",
    "word",
    "Word. ",
    "  leading and trailing space   ",
    "... --- !!! ???",
    "?",
    "!?!? ... one word in the middle ... !?!?",
    # --- abbreviations, numbers, identifiers
    "Dr. Smith met Mr. Jones at 3 p.m. sharp, e.g. near the U.S. embassy. They spoke of prices: $1,234.50 vs. 3.14 "
    "euros, i.e. nothing new. See sec. 2.3 and fig. 4a. The U.N. Secretary-General wasn't there. etc. and so on.",
    "Version 8.19.8 was tagged at 2025-11-26T23:06:12Z. foo_bar baz-qux user@example.com https://example.com/a?b=c&d=e "
    "#hashtag @mention C++ C# .NET node.js 10% 5°C 1/2 ½ x² H₂O 192.168.0.1 1e-5 0xFF £9.99 a.b.c.d.",
    "It cost $5.Then we left.And so on.No spaces here.what now?yes!no.",
    "\"Quoted speech ends here.\" She said so. (A whole sentence in brackets.) Then another. 'Single quotes!' Done. "
    "«Voilà!» dit-il. „Ja.“ sagte sie. She asked “Why?” and left… And then… nothing.",
    "one.two three.Four five. six seven? eight nine! ten Eleven. 12 thirteen. (fourteen). [15] sixteen; seventeen: "
    "eighteen - nineteen – twenty — twenty-one",
    # --- lines
    "One two three\nFour five six\nSeven eight nine",
    "\n".join(f"line {n} of the list with five words" for n in range(1, 12)),
    "alpha\nbeta\ngamma\ndelta\nepsilon\nzeta\neta\ntheta\niota\nkappa\nlambda\nmu\nnu\nxi\nomicron\npi\nrho\nsigma\n"
    "tau\nupsilon\nphi\nchi\npsi\nomega\n",
    "\n\n\nFirst paragraph after empty lines.\n\n\n\nSecond paragraph after more empty lines, with a few words.\n "
    "\n\t\nThird.\n\n",
    "windows line\r\nends here\r\n\r\nand again a paragraph with some more words in it\r\nthe last line of all of them",
    "form\ffeed and\vvertical tab\u0085next line\u2028line separator\u2029paragraph separator\u00a0no-break space "
    "and\u200bzero width\ufeffmark and soft\u00adhyphen end",
    "tab\tseparated\tvalues\there\n1\t2\t3\t4\n5\t6\t7\t8\n9\t10\t11\t12\n13\t14\t15\t16\n17\t18\t19\t20\n",
    "para one has five words\n\npara two has also a few more words than ten in it total\nsecond line of two\n\npara "
    "three",
    "   \n  \n ",
    # --- markdown
    "# Title\nintro words here one two three\n## First\nalpha beta gamma delta epsilon zeta eta theta iota kappa "
    "lambda\n## Second\nshort text",
    "# Guide\n\nSome words to begin the guide with.\n\n## Install\n\nRun `pip install thing` and wait. Then run it "
    "again, to be sure.\n\n### On Linux\n\n- first item of the list\n- second item of the list\n- third item\n\n"
    "###### Deep\n\nText at depth with enough words to be too long for one chunk of fifteen words, surely.\n\n"
    "Setext heading\n--------------\n\nMore words below the setext heading go here.\n\nOther heading\n======\n\n"
    "```python\nprint('hello world')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "\nHeading one\n---\nbody of one with several words to fill it up\n\n---\nHeading two\n===\nbody of two with "
    "several words to fill it up as well\n\n\n---\n",
    "\nMixed ends\r\n-----\nsome words below\r\n\r\n\nTitle\u2029=====\nmore words below and a few more of them to "
    "fill it\n \r\n-----\nx\n\rCarriage title\n===\nlast part with some more words to pass the limit of fifteen words",
    "#not a heading\n#  two spaces\n# \nempty heading above\n## x\n\n# y\n# z\n" + "some filler words " * 6,
    # --- accents, combining marks, other alphabets
    "L'été dernier, nous avons vu l'océan à Saint-Malo. C'était très beau ! N'est-ce pas ? Où étiez-vous, cher ami ? "
    "J'ai mangé des crêpes aujourd'hui, et vous.",
    "Re\u0301sume\u0301 with combining accents. Nai\u0308ve cafe\u0301 Za\u0300lgo\u0353\u0310 text. "
    "A\u030angstro\u0308m.",
    "Größe und Maß: Straßenbahnhaltestelle, z.B. am 3. Oktober. Der 1. FC gewann 3:2 usw. Das war's. Ende gut, alles "
    "gut.",
    "Москва слезам не верит. В 2020 г. население выросло до 12,6 млн. чел. Кто это? «Я», сказал он. и т. д. Конец.",
    "Η Αθήνα είναι πόλη. Πού είναι η θάλασσα; Εδώ! Το νερό είναι κρύο· πολύ κρύο.",
    'שלום עולם. מה שלומך היום? צה"ל ורש"י הם ראשי תיבות. הכול בסדר גמור, תודה רבה לך ולכל המשפחה שלך היקרה.',
    "مرحبا بالعالم. كيف حالك اليوم؟ أنا بخير، شكرا جزيلا لك! هذا نص طويل قليلا لكي ينقسم إلى أجزاء متعددة عند الحد.",
    "नमस्ते दुनिया। आप कैसे हैं? मैं ठीक हूँ, धन्यवाद। यह एक लंबा वाक्य है जिसे कई हिस्सों में बाँटा जाना चाहिए।",
    "안녕하세요 세계. 오늘 날씨가 좋네요! 어디에 가고 싶으세요? 바다를 보러 갑시다. "
    "배는 아침 여섯 시에 떠납니다 그리고 저녁에 돌아옵니다.",
    "საქართველო მთიანი ქვეყანაა. Հայաստանը լեռնային երկիր է։ ኢትዮጵያ ተራራማ አገር ናት። ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ.",
    # --- emoji and other characters outside the basic plane
    "Great 😀😀 day! 👨‍👩‍👧‍👦 family 🇩🇪🇫🇷 flags 👍🏽 ok. 😀Next one 😀. a😀b ❤️ red heart ©2024 ™ done 🎉",
    "𝒜 math 𝔹old 𝟙𝟚𝟛 letters 𠮷野家 and 𐍈 Gothic 𐌰𐌱𐌲 words. 😀 𝓗ere is more. 💬 " + "🙂 word " * 12,
    "😀 " * 30,
    "1️⃣ one 2️⃣ two 3️⃣ three *️⃣ star #️⃣ hash ☎ phone ✈ plane ⌚ watch ☀️ sun. Next ★★★☆☆ stars. 5★ rated → go.",
    # --- scripts that write no spaces
    "你好世界。今天天气很好，我们去海边散步吧！你想吃什么？北京大学的学生在图书馆里学习计算机科学和人工智能。",
    "東京都に住んでいます。昨日は友達と映画を見ました。とても面白かったです！明日はカタカナのテストがあります。コンピューターを使って勉強する。",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ วันนี้อากาศดีมาก เราไปเที่ยวทะเลกันเถอะ เรือออกตอนหกโมงเช้าและกลับมาในตอนเย็น",
    "ພາສາລາວບໍ່ມີຍະຫວ່າງລະຫວ່າງຄຳ ມື້ນີ້ອາກາດດີຫຼາຍ ພວກເຮົາໄປຫຼິ້ນນ້ຳກັນເທາະ",
    "ភាសាខ្មែរមិនមានដកឃ្លារវាងពាក្យទេ ថ្ងៃនេះអាកាសធាតុល្អណាស់ យើងទៅលេងសមុទ្រ",
    "မြန်မာဘာသာစကားသည် စကားလုံးများကြားတွင် နေရာလွတ်မရှိပါ။ ယနေ့ ရာသီဥတု အလွန်ကောင်းသည်။",
    "Mixed 中文 and English テキスト in one 文章. The price is 100円 or 5元 per 個. OK？はい！",
    "ｆｕｌｌ　ｗｉｄｔｈ　ｔｅｘｔ．　Ｎｅｘｔ！　１２３　ｱｲｳｴｵ half width kana。 ends here",
    # --- odd shapes
    "a b c d e f g h i j. k l m n o p q r s t. u v w x y z",
    "yes. " * 45,
    "word\n" + "long " * 30,
    "One here. Two\n" + "long " * 45 + "end. Then 1 more.\n" + "again " * 19 + "and\nlast",
    "é. 😀 a\n😀 b\n" + "😀long " * 21 + "\n\n" + "𝒜bc " * 25,
    "no,no,no," * 15,
    "A" * 300 + " " + "b" * 300,
    '((nested (brackets) here)) [[and]] {{these}} <tags attr="1">text</tags> a/b\\c | d & e * f ^ g ~ h `i` _j_ __k__',
    "trailing separators ;;; ,,, ... \t\t   \n\n\n",
    "أ.ب x.Y 1.a a.1 A.b. B.c! d?e f!G",
)
